import { encodeBitmap } from "./png.js";
import { boundingBox, drawStroke } from "./strokes.js";

// Browsers bound the size of a canvas (some to 16 megapixels), so a mask is drawn in strips.
const STRIP_PIXELS = 1_000_000;
const HALF_COVERED = 128;

/**
 * The strokes as a PNG of the picture's full size, white = fill, or null where they mark nothing.
 * @param {import("./strokes.js").Stroke[]} strokes
 * @param {number} width @param {number} height
 * @returns {Promise<Blob | null>}
 */
export async function encodeMask(strokes, width, height) {
  const box = boundingBox(strokes, width, height);
  if (!box.width || !box.height) return null;
  const rowBytes = Math.ceil(width / 8);
  const bits = new Uint8Array(rowBytes * height);
  const stripRows = Math.min(Math.max(Math.floor(STRIP_PIXELS / box.width), 1), box.height);
  const context = new OffscreenCanvas(box.width, stripRows).getContext("2d", { willReadFrequently: true });
  if (!context) return null;
  let marked = false;
  for (let top = box.top; top < box.top + box.height; top += stripRows) {
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, box.width, stripRows);
    context.translate(-box.left, -top);
    for (const stroke of strokes) drawStroke(context, stroke);
    const { data } = context.getImageData(0, 0, box.width, Math.min(stripRows, box.top + box.height - top));
    for (let index = 3, pixel = 0; index < data.length; index += 4, pixel++) {
      if (data[index] < HALF_COVERED) continue;
      const x = box.left + (pixel % box.width);
      const y = top + Math.floor(pixel / box.width);
      bits[y * rowBytes + (x >> 3)] |= 0x80 >> (x & 7);
      marked = true;
    }
  }
  return marked ? encodeBitmap(bits, width, height) : null;
}
