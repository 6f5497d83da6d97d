/**
 * A level meter for a microphone.
 */

/**
 * Scales an element with the loudness of a track, until the returned function is called.
 *
 * @param {MediaStreamTrack} track
 * @param {HTMLElement} bar
 * @returns {() => void}
 */
export function meter(track, bar) {
  if (typeof AudioContext === 'undefined') return () => {};
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 512;
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  let shown = 0;
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    // -60 dB is silence, -10 dB is loud speech.
    const level = Math.min(1, Math.max(0, (10 * Math.log10(power + 1e-9) + 60) / 50));
    shown = Math.max(level, shown * 0.8);
    bar.style.transform = `scaleX(${shown.toFixed(3)})`;
  }, 66);
  return () => {
    clearInterval(timer);
    bar.style.transform = 'scaleX(0)';
    void context.close();
  };
}
