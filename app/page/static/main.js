import { Controls } from "./controls.js";
import { Editor } from "./editor.js";
import { EXAMPLE } from "./example.js";
import { Filler } from "./filler.js";
import { Gestures } from "./gestures.js";
import { askForKey, showHelp } from "./dialogs.js";
import { encodeMask } from "./mask.js";
import { Notices } from "./notices.js";
import { listenForPictures } from "./openings.js";
import { Picture } from "./picture.js";
import { Problem, Service } from "./service.js";
import { Texts } from "./texts.js";

const ZOOM_STEP = 1.5;
const BRUSH_STEP = 1.25;
const EXTENSIONS = { png: "png", jpeg: "jpg", webp: "webp" };

const texts = await Texts.load();
const notices = new Notices(texts);
const service = new Service();
const limits = await service.limits();
const filler = new Filler(service, limits, notices, (refused) => askForKey(texts, refused));
const stage = /** @type {HTMLElement} */ (document.querySelector("#stage"));
const editor = new Editor(stage, () => controls.update());

const controls = new Controls(texts, editor, {
  open: () => controls.chooseFile(),
  example: () => attempt(openExample),
  brush: () => choose("brush"),
  eraser: () => choose("eraser"),
  hand: () => choose("hand"),
  smaller: () => controls.resizeBrush(1 / BRUSH_STEP),
  larger: () => controls.resizeBrush(BRUSH_STEP),
  undo: () => editor.undo(),
  redo: () => editor.redo(),
  clear: () => editor.clear(),
  zoomIn: () => editor.zoom(ZOOM_STEP),
  zoomOut: () => editor.zoom(1 / ZOOM_STEP),
  fit: () => editor.fit(),
  compare: () => editor.compare(!editor.comparing),
  fill: () => attempt(fill),
  cancel: () => filler.cancel(),
  download: () => attempt(download),
  help: () => showHelp(texts),
  dismiss: () => notices.dismiss(),
});

new Gestures(/** @type {HTMLElement} */ (document.querySelector("#paint")), {
  pans: () => editor.tool === "hand" || editor.comparing || controls.busy || controls.spaceHeld,
  startStroke: (point) => editor.startStroke(point),
  extendStroke: (points) => editor.extendStroke(points),
  finishStroke: () => editor.finishStroke(),
  cancelStroke: () => editor.cancelStroke(),
  pan: (dx, dy) => editor.pan(dx, dy),
  zoom: (factor, centre) => editor.zoom(factor, centre),
  hover: (point) => controls.showCursor(point),
});

listenForPictures(controls.fileInput, (file) => {
  if (!controls.busy) attempt(() => open(file, file.name));
});

/** @param {"brush" | "eraser" | "hand"} tool */
function choose(tool) {
  editor.tool = tool;
  editor.compare(false);
}

/** @param {Blob} file @param {string} name @param {import("./strokes.js").Stroke[]} strokes */
async function open(file, name, strokes = []) {
  if (file.size > limits.max_request_bytes) {
    throw new Refusal("tooManyBytes", { size: megabytes(file.size), most: megabytes(limits.max_request_bytes) });
  }
  const picture = await Picture.decode(file, name).catch(() => {
    throw new Refusal("unreadable", {});
  });
  const { width, height } = picture;
  if (picture.pixels > limits.max_pixels || Math.max(width, height) > limits.max_side) {
    picture.close();
    const most = texts.number(limits.max_pixels / 1e6);
    throw new Refusal("tooManyPixels", { width, height, most, side: limits.max_side });
  }
  document.body.classList.add("working");
  editor.open(picture, strokes);
  notices.say(strokes.length ? "exampleReady" : "ready");
}

async function openExample() {
  const response = await fetch(EXAMPLE.file);
  if (!response.ok) throw new Problem(response.status);
  await open(await response.blob(), EXAMPLE.file.split("/").at(-1) ?? "", EXAMPLE.strokes);
}

async function fill() {
  const { work } = editor;
  if (!work) return;
  const { picture } = work;
  const started = performance.now();
  const preparing = prepare(work);
  const file = await filler.fill(preparing, "png");
  const request = await preparing;
  editor.continueWith(await Picture.decode(file, picture.name, request));
  const seconds = texts.number((performance.now() - started) / 1000, 1);
  notices.say(request.image === picture.file ? "filled" : "filledFromJpeg", { seconds });
}

/** @param {{picture: Picture, strokes: import("./strokes.js").Stroke[]}} work */
async function prepare({ picture, strokes }) {
  const mask = await encodeMask(strokes, picture.width, picture.height);
  if (!mask) throw new Refusal("nothingMarked", {});
  return { image: await filler.imageFor(picture, mask), mask };
}

/** PNG is what the service answered; for another format it is asked the same again, so that it is encoded once only. */
async function download() {
  const { picture } = editor.work ?? {};
  if (!picture?.request) return;
  const { format } = controls;
  const file = format === "png" ? picture.file : await filler.fill(picture.request, format);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `${picture.name.replace(/\.\w+$/, "")}-filled.${EXTENSIONS[format]}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  notices.say("saved", { name: link.download, size: megabytes(file.size) });
}

/** Something that the page itself refuses; its text is among the page's own. */
class Refusal extends Error {
  /** @param {string} key @param {Record<string, string | number>} values */
  constructor(key, values) {
    super(key);
    this.values = values;
  }
}

/** Do one thing at a time, and tell why where it does not work. @param {() => Promise<void>} action */
async function attempt(action) {
  controls.setBusy(true);
  try {
    await action();
  } catch (error) {
    complain(error);
  } finally {
    controls.setBusy(false);
  }
}

/** @param {unknown} error */
function complain(error) {
  if (error instanceof Refusal) notices.complain(texts.get(error.message, error.values));
  else if (error instanceof Problem) notices.complain(problemTitle(error.status), error.message);
  else if (error instanceof DOMException && error.name === "AbortError") notices.say("cancelled");
  else {
    notices.complain(texts.get("unexpected"));
    throw error;
  }
}

/** @param {number} status */
function problemTitle(status) {
  const key = `problem${status}`;
  return texts.has(key) ? texts.get(key) : texts.get("problem", { status });
}

/** @param {number} bytes */
function megabytes(bytes) {
  return texts.number(bytes / 1e6, 1);
}
