/** The page's texts in the language that was chosen, at first the browser's. */
export class Texts {
  #strings;

  /** @param {Record<string, Record<string, string>>} strings the texts by language and key */
  constructor(strings) {
    this.#strings = strings;
    const chosen = new URLSearchParams(location.search).get("lang");
    const wished = [chosen ?? "", ...navigator.languages].map((tag) => tag.split("-")[0]);
    this.language = wished.find((language) => language in strings) ?? "en";
  }

  static async load() {
    return new Texts(await (await fetch("page/strings.json")).json());
  }

  /** Each language's code and its own name. */
  get languages() {
    return Object.entries(this.#strings).map(([code, strings]) => ({ code, name: strings.language }));
  }

  /** @param {string} key @param {Record<string, string | number>} values for the {names} in the text */
  get(key, values = {}) {
    const text = this.#strings[this.language][key] ?? key;
    return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
  }

  /** @param {string} key */
  has(key) {
    return key in this.#strings[this.language];
  }

  /** A number as this language writes it. @param {number} value */
  number(value, digits = 0) {
    return value.toLocaleString(this.language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  }

  /** Change the language, and the address too, so that a reload keeps it. @param {string} language */
  choose(language) {
    this.language = language;
    const address = new URL(location.href);
    address.searchParams.set("lang", language);
    history.replaceState(null, "", address);
  }

  /** Put the texts into every element that names one. */
  apply() {
    document.documentElement.lang = this.language;
    document.title = this.get("title");
    for (const element of document.querySelectorAll("[data-text]")) {
      element.textContent = this.get(/** @type {HTMLElement} */ (element).dataset.text ?? "");
    }
    for (const element of document.querySelectorAll("[data-label]")) {
      const label = this.get(/** @type {HTMLElement} */ (element).dataset.label ?? "");
      element.setAttribute("aria-label", label);
      element.setAttribute("title", label);
    }
  }
}
