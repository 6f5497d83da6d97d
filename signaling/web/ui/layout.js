/**
 * Where tiles go: arithmetic on rectangles, in CSS pixels.
 */

/**
 * @typedef {{left: number, top: number, width: number, height: number}} Rect
 */

export const GAP = 10;
const WIDEST = 16 / 9;

/**
 * The grid of equal tiles that uses the most of an area. The last row is centred.
 *
 * @param {number} count
 * @param {Rect} area
 * @returns {Rect[]}
 */
export function gridLayout(count, area) {
  if (count === 0) return [];
  // Upright screens may crop a face to a portrait; wide ones have the room not to.
  const narrowest = area.height <= area.width ? 5 / 4 : count === 1 ? 9 / 16 : 3 / 4;
  let best = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const cellWidth = (area.width - GAP * (columns - 1)) / columns;
    const cellHeight = (area.height - GAP * (rows - 1)) / rows;
    const width = Math.min(cellWidth, cellHeight * WIDEST);
    const height = Math.min(cellHeight, width / narrowest);
    if (width * height > best.width * best.height) best = { columns, width, height };
  }
  const { columns } = best;
  const width = Math.floor(best.width);
  const height = Math.floor(best.height);
  const rows = Math.ceil(count / columns);
  const top = area.top + (area.height - rows * height - (rows - 1) * GAP) / 2;
  return Array.from({ length: count }, (_, index) => {
    const row = Math.floor(index / columns);
    const inRow = row === rows - 1 ? count - row * columns : columns;
    const left = area.left + (area.width - inRow * width - (inRow - 1) * GAP) / 2;
    return {
      left: Math.round(left + (index % columns) * (width + GAP)),
      top: Math.round(top + row * (height + GAP)),
      width,
      height,
    };
  });
}

/**
 * One large area and a strip of small tiles: beside it on a wide screen, below it on an upright one.
 *
 * @param {number} count small tiles
 * @param {Rect} area
 * @returns {{stage: Rect, strip: Rect[]}} the strip holds as many as have room
 */
export function stageLayout(count, area) {
  if (count === 0) return { stage: area, strip: [] };
  const upright = area.height > area.width;
  if (upright) {
    const height = Math.min(130, area.height * 0.22);
    const width = Math.min(height * 1.2, (area.width - 2 * GAP) / 3);
    const fit = Math.max(1, Math.floor((area.width + GAP) / (width + GAP)));
    const shown = Math.min(count, fit);
    const left = area.left + (area.width - shown * width - (shown - 1) * GAP) / 2;
    const top = area.top + area.height - height;
    return {
      stage: { ...area, height: area.height - height - GAP },
      strip: Array.from({ length: shown }, (_, index) => ({ left: left + index * (width + GAP), top, width, height })),
    };
  }
  const width = Math.min(260, Math.max(150, area.width * 0.19));
  const height = width / WIDEST;
  const fit = Math.max(1, Math.floor((area.height + GAP) / (height + GAP)));
  const shown = Math.min(count, fit);
  const left = area.left + area.width - width;
  const top = area.top + Math.max(0, (area.height - shown * height - (shown - 1) * GAP) / 2);
  return {
    stage: { ...area, width: area.width - width - GAP },
    strip: Array.from({ length: shown }, (_, index) => ({ left, top: top + index * (height + GAP), width, height })),
  };
}

/**
 * The corner where one's own picture floats in a call of two.
 *
 * @param {Rect} area
 * @returns {Rect}
 */
export function cornerLayout(area) {
  const upright = area.height > area.width;
  const width = upright ? Math.min(120, area.width * 0.3) : Math.min(240, area.width * 0.2);
  const height = upright ? width / 0.75 : width / WIDEST;
  return { left: area.left + area.width - width - 14, top: area.top + area.height - height - 14, width, height };
}
