// Shows the copy buttons of a page and makes them work. Without this script the commands can still be selected.
"use strict";

function showButtons() {
  for (const button of document.querySelectorAll("button[data-copy]")) button.hidden = false;
}

function select(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  let word = "Copied";
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {  // no permission, or no clipboard because the page came over plain HTTP from another machine
    select(source);
    word = "Press Ctrl+C";
  }
  button.textContent = word;
  const status = document.querySelector("[data-copy-status]");
  if (status) status.textContent = word;
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-copy]");
  if (button) copy(button);
});
document.addEventListener("DOMContentLoaded", showButtons);
document.addEventListener("htmx:afterSettle", showButtons);  // a report that came by a refresh
showButtons();
