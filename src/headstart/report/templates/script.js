(function () {
  "use strict";
  var root = document.documentElement;
  root.classList.add("js");
  var button = document.getElementById("theme");
  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark"
      : window.matchMedia("(prefers-color-scheme: dark)").matches;
  }
  function name() { button.textContent = isDark() ? "Light" : "Dark"; }
  if (button) {
    button.hidden = false;
    name();
    button.addEventListener("click", function () {
      root.dataset.theme = isDark() ? "light" : "dark";
      name();
    });
  }
  // A cell of the matrix opens its images, and closes those of the cell before.
  function open(id) {
    var chosen = id && document.getElementById(id);
    if (!chosen || chosen.tagName !== "DETAILS") { return; }
    document.querySelectorAll(".cells details[open]").forEach(function (other) {
      if (other !== chosen) { other.open = false; }
    });
    chosen.open = true;
    chosen.scrollIntoView({ block: "nearest" });
    chosen.querySelector("summary").focus({ preventScroll: true });
  }
  document.addEventListener("click", function (event) {
    var link = event.target.closest("a[data-cell]");
    if (link) { event.preventDefault(); open(link.dataset.cell); history.replaceState(null, "", "#" + link.dataset.cell); }
  });
  if (location.hash.length > 1) { open(location.hash.slice(1)); }
})();
