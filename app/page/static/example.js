/** The example: a space capsule over a coast (photograph: SpaceX, CC0), already painted over. */
export const EXAMPLE = {
  file: "page/example.jpg",
  /** @type {import("./strokes.js").Stroke[]} */
  strokes: [
    {
      points: [
        { x: 492, y: 392 },
        { x: 540, y: 396 },
        { x: 600, y: 395 },
        { x: 660, y: 399 },
        { x: 730, y: 397 },
        { x: 786, y: 401 },
      ],
      radius: 32,
      erases: false,
    },
    {
      points: [
        { x: 632, y: 398 },
        { x: 642, y: 420 },
        { x: 637, y: 450 },
      ],
      radius: 46,
      erases: false,
    },
  ],
};
