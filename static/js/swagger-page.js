// What Swagger UI does not know: our choice of theme, and that a link inside a button cannot be reached by everybody.

// The dark theme is a class. Whoever has chosen a theme gets it from the server; all others follow the system.
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => root.classList.toggle("dark-mode", root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
dark.addEventListener("change", follow);
follow();

// The whole line of an operation is the button; the path in it only repeats what the button does.
const unlink = () => {
  for (const link of document.querySelectorAll(".opblock-summary-control a[href]")) link.removeAttribute("href");
};
new MutationObserver(unlink).observe(root, { childList: true, subtree: true });
