// Cameras of one colour, so that a picture tells whose it is. Both functions run in the page.

/** To be evaluated before the page's own scripts: its camera shows `colour`, with a moving spot to keep it alive. */
export function paintCamera([red, green, blue]) {
  const native = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (constraints) => {
    if (!constraints?.video) return native(constraints);
    const canvas = Object.assign(document.createElement('canvas'), { width: 640, height: 360 });
    const context = canvas.getContext('2d');
    let step = 0;
    setInterval(() => {
      context.fillStyle = `rgb(${red}, ${green}, ${blue})`;
      context.fillRect(0, 0, 640, 360);
      context.fillStyle = 'white';
      context.fillRect((step += 7) % 640, 0, 20, 20);
    }, 50);
    const stream = canvas.captureStream(20);
    if (constraints.audio) {
      const sound = await native({ audio: constraints.audio });
      sound.getAudioTracks().forEach((track) => stream.addTrack(track));
    }
    return stream;
  };
}

/** The colour in the middle of each tile's picture, by the tile's name. */
export function pictureColours(page) {
  return page.evaluate(() => {
    const found = {};
    for (const tile of document.querySelectorAll('[data-testid="tile"]')) {
      const video = tile.querySelector('video');
      if (!video?.videoWidth) continue;
      const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 });
      const context = canvas.getContext('2d');
      context.drawImage(video, video.videoWidth / 2, video.videoHeight / 2, 1, 1, 0, 0, 1, 1);
      const name = tile.querySelector('[data-testid="tile-name"]')?.textContent?.trim() ?? '';
      found[name] = [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
    }
    return found;
  });
}
