// What Swagger UI does not know: our choice of theme, and what those need who do not see or do not use a mouse.

// The dark theme is a class. Whoever has chosen a theme gets it from the server; all others follow the system.
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => root.classList.toggle("dark-mode", root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
dark.addEventListener("change", follow);
follow();

const mend = (selector, how) => document.querySelectorAll(selector).forEach(how);
const name = (selector, nameOf) =>
  mend(`:is(${selector}):not([aria-label])`, part => part.setAttribute("aria-label", nameOf(part)));
const mendAll = () => {
  // The whole line of an operation is the button; the path in it only repeats what the button does.
  mend(".opblock-summary-control a[href]", link => link.removeAttribute("href"));
  name("[data-param-name] :is(input, select, textarea)", field => field.closest("[data-param-name]").dataset.paramName);
  name("textarea.body-param__text", () => "Request body");
  name(".examples-select-element", () => "Example");
  name(".close-modal", () => "Close");
  name(".modal-ux", dialog => dialog.querySelector("h3").textContent);
  mend(".modal-ux:not([role])", dialog => dialog.setAttribute("role", "dialog"));
  mend("table[role=region]", table => table.removeAttribute("role"));   // or it is none for a screen reader
  mend("pre.microlight:not([tabindex])", text => text.setAttribute("tabindex", "0"));   // it scrolls
};
new MutationObserver(mendAll).observe(root, { childList: true, subtree: true });
