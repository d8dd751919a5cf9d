import { SHORTCUTS, commandOf, keysOf } from "./shortcuts.js";

/** @typedef {import("./service.js").Format} Format */

/** What may be done while the service works. */
const ALLOWED_WHILE_BUSY = ["cancel", "zoomIn", "zoomOut", "fit", "help", "dismiss"];

/** Buttons, sliders and keys: they run commands, and show what can be done at the moment. */
export class Controls {
  busy = false;
  spaceHeld = false;
  fileInput = /** @type {HTMLInputElement} */ (find("#file"));
  #size = /** @type {HTMLInputElement} */ (find("#size"));
  #divider = /** @type {HTMLInputElement} */ (find("#divider"));
  #format = /** @type {HTMLSelectElement} */ (find("#format"));
  #stage = find("#stage");
  #cursor = find("#cursor");
  #go = find("#go");
  #texts;
  #editor;
  #commands;

  /**
   * @param {import("./texts.js").Texts} texts @param {import("./editor.js").Editor} editor
   * @param {Record<string, () => void>} commands
   */
  constructor(texts, editor, commands) {
    this.#texts = texts;
    this.#editor = editor;
    this.#commands = commands;
    this.#offerLanguages();
    for (const button of this.#buttons()) {
      button.addEventListener("click", ({ detail }) => {
        // After a click with a pointer, the keys belong to the picture again.
        if (detail) button.blur();
        this.#run(button.dataset.command ?? "");
      });
    }
    this.#size.addEventListener("input", () => {
      this.#setBrush(this.#size.valueAsNumber);
      this.showCursor({ x: this.#stage.clientWidth / 2, y: this.#stage.clientHeight / 2 });
    });
    this.#size.addEventListener("change", () => this.showCursor(null));
    this.#divider.addEventListener("input", () => editor.compare(true, this.#divider.valueAsNumber / 100));
    addEventListener("keydown", (event) => this.#keyDown(event));
    addEventListener("keyup", ({ key }) => {
      if (key === " ") this.spaceHeld = false;
    });
    addEventListener("blur", () => {
      this.spaceHeld = false; // its release will be another window's
    });
    this.#setBrush(editor.brushSize);
    this.update();
  }

  /** @returns {Format} */
  get format() {
    return /** @type {Format} */ (this.#format.value);
  }

  chooseFile() {
    this.fileInput.click();
  }

  /** @param {boolean} busy */
  setBusy(busy) {
    this.busy = busy;
    this.update();
  }

  /** @param {number} factor */
  resizeBrush(factor) {
    this.#setBrush(this.#editor.brushSize * factor);
  }

  /** Show where the brush is and how large; null hides it. @param {import("./viewport.js").Point | null} point */
  showCursor(point) {
    const { tool, comparing, work } = this.#editor;
    this.#cursor.hidden = !point || !work || tool === "hand" || comparing || this.busy || this.spaceHeld;
    if (point) this.#cursor.style.translate = `${point.x}px ${point.y}px`;
  }

  /** Bring every control in line with the editor. */
  update() {
    const { tool, comparing } = this.#editor;
    document.body.dataset.tool = comparing || this.busy ? "hand" : tool;
    document.body.classList.toggle("comparing", comparing);
    document.body.classList.toggle("busy", this.busy);
    this.#go.dataset.command = this.busy ? "cancel" : "fill";
    find("#go use").setAttribute("href", this.busy ? "#i-close" : "#i-fill");
    find("#go span").textContent = this.#texts.get(this.busy ? "cancel" : "fill");
    for (const button of this.#buttons()) {
      const name = button.dataset.command ?? "";
      button.toggleAttribute("disabled", !this.#isAvailable(name));
      if (["brush", "eraser", "hand"].includes(name)) {
        button.setAttribute("aria-pressed", String(tool === name && !comparing));
      }
      if (name === "compare") button.setAttribute("aria-pressed", String(comparing));
    }
  }

  /** @returns {NodeListOf<HTMLElement>} */
  #buttons() {
    return document.querySelectorAll("[data-command]");
  }

  /** @param {string} command */
  #isAvailable(command) {
    const editor = this.#editor;
    if (this.busy) return ALLOWED_WHILE_BUSY.includes(command);
    if (["open", "example", "help", "dismiss"].includes(command)) return true;
    if (command === "undo") return editor.canUndo;
    if (command === "redo") return editor.canRedo;
    if (command === "clear" || command === "fill") return editor.isPainted;
    if (command === "compare" || command === "download") return editor.isFilled;
    return command !== "cancel" && editor.work !== null;
  }

  /** @param {string} command */
  #run(command) {
    if (!this.#isAvailable(command)) return;
    this.#commands[command]();
    this.update();
  }

  /** @param {KeyboardEvent} event */
  #keyDown(event) {
    const target = /** @type {Element} */ (event.target);
    if (target.closest("dialog, select, input:not([type=range])")) return;
    const onButton = target.closest("button") !== null;
    if (event.key === " " && !onButton) {
      event.preventDefault();
      this.spaceHeld = true;
      return;
    }
    const command = commandOf(event);
    if (!command || (onButton && event.key === "Enter")) return;
    event.preventDefault();
    this.#run(command);
  }

  /** @param {number} size in CSS pixels */
  #setBrush(size) {
    this.#size.valueAsNumber = size; // the slider bounds it
    this.#editor.brushSize = this.#size.valueAsNumber;
    this.#cursor.style.setProperty("--size", `${this.#editor.brushSize}px`);
  }

  #offerLanguages() {
    const select = /** @type {HTMLSelectElement} */ (find("#language"));
    for (const { code, name } of this.#texts.languages) select.add(new Option(name, code));
    select.value = this.#texts.language;
    select.addEventListener("change", () => {
      this.#texts.choose(select.value);
      this.#applyTexts();
    });
    this.#applyTexts();
  }

  #applyTexts() {
    this.#texts.apply();
    this.update(); // names the buttons whose names change
    for (const button of this.#buttons()) {
      const [shortcut] = SHORTCUTS[button.dataset.command ?? ""] ?? [];
      const name = button.ariaLabel ?? button.textContent;
      if (shortcut) button.title = `${name} (${keysOf(shortcut).join("+")})`;
    }
  }
}

/** @param {string} selector @returns {HTMLElement} */
function find(selector) {
  return /** @type {HTMLElement} */ (document.querySelector(selector));
}
