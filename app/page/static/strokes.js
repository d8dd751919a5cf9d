/**
 * What a brush drew, in pixels of the picture.
 * @typedef {{points: import("./viewport.js").Point[], radius: number, erases: boolean}} Stroke
 */

/**
 * Draw a stroke in the context's own colour, from its point number `from` on: a growing stroke need not be drawn anew.
 * @param {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D} context
 * @param {Stroke} stroke
 */
export function drawStroke(context, { points, radius, erases }, from = 0) {
  const start = points[Math.max(from - 1, 0)];
  context.globalCompositeOperation = erases ? "destination-out" : "source-over";
  context.lineWidth = 2 * radius;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  context.arc(start.x, start.y, radius, 0, 2 * Math.PI);
  context.fill();
  context.beginPath();
  context.moveTo(start.x, start.y);
  for (const { x, y } of points.slice(Math.max(from, 1))) context.lineTo(x, y);
  context.stroke();
}

/** @param {Stroke[]} strokes */
export function marksAnything(strokes) {
  return strokes.some((stroke) => !stroke.erases);
}

/**
 * The part of a picture that the strokes may mark, in whole pixels; empty boxes have no height.
 * @param {Stroke[]} strokes @param {number} width @param {number} height of the picture
 */
export function boundingBox(strokes, width, height) {
  const box = { left: width, top: height, right: 0, bottom: 0 };
  for (const { points, radius } of strokes.filter((stroke) => !stroke.erases)) {
    for (const { x, y } of points) {
      box.left = Math.min(box.left, Math.floor(x - radius));
      box.top = Math.min(box.top, Math.floor(y - radius));
      box.right = Math.max(box.right, Math.ceil(x + radius));
      box.bottom = Math.max(box.bottom, Math.ceil(y + radius));
    }
  }
  const left = Math.max(box.left, 0);
  const top = Math.max(box.top, 0);
  return {
    left,
    top,
    width: Math.max(Math.min(box.right, width) - left, 0),
    height: Math.max(Math.min(box.bottom, height) - top, 0),
  };
}
