/**
 * Every way in which a picture comes to the page: chosen, dropped or pasted.
 * @param {HTMLInputElement} input @param {(file: File) => void} open
 */
export function listenForPictures(input, open) {
  input.addEventListener("change", () => {
    if (input.files?.[0]) open(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
  addEventListener("paste", (event) => openFirst(event.clipboardData, open));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    openFirst(event.dataTransfer, open);
  });
}

/** @param {DataTransfer | null} transfer @param {(file: File) => void} open */
function openFirst(transfer, open) {
  const file = transfer?.files[0];
  if (file) open(file);
}
