// Shows details of points and spans, on hover and by keyboard. Each chart is one tab stop with arrow keys within it.
"use strict";
const detail = document.getElementById("detail");

function show(point) {
  hide();
  detail.textContent = point.dataset.detail;
  detail.hidden = false;
  point.classList.add("on");
  const place = point.getBoundingClientRect();
  const size = detail.getBoundingClientRect();
  const below = place.bottom + 10;
  const top = below + size.height < innerHeight ? below : place.top - size.height - 10;
  const middle = Math.max(0, place.left) + Math.min(place.width, 120) / 2 - size.width / 2;
  detail.style.top = `${Math.max(4, Math.min(top, innerHeight - size.height - 4))}px`;
  detail.style.left = `${Math.max(8, Math.min(middle, innerWidth - size.width - 8))}px`;
}

function hide() {
  detail.hidden = true;
  document.querySelectorAll(".on").forEach((point) => point.classList.remove("on"));
}

for (const chart of document.querySelectorAll("[data-points]")) {
  const points = [...chart.querySelectorAll(".point")];
  if (!points.length) continue;
  points[0].setAttribute("tabindex", "0");
  const focus = (index) => {
    const next = points[Math.max(0, Math.min(index, points.length - 1))];
    points.forEach((point) => point.setAttribute("tabindex", point === next ? "0" : "-1"));
    next.focus();
  };
  chart.addEventListener("keydown", (event) => {
    const index = points.indexOf(document.activeElement);
    if (index < 0) return;
    const moves = { ArrowRight: index + 1, ArrowDown: index + 1, ArrowLeft: index - 1, ArrowUp: index - 1, Home: 0, End: points.length - 1 };
    if (event.key in moves) {
      event.preventDefault();
      focus(moves[event.key]);
    } else if (event.key === "Escape") {
      hide();
    }
  });
}

// Listen on the document, because Chromium makes an SVG with a focus listener an additional tab stop.
for (const [enter, leave] of [["focusin", "focusout"], ["pointerover", "pointerout"]]) {
  document.addEventListener(enter, (event) => {
    const point = event.target.closest("[data-points] .point");
    if (point) show(point);
  });
  document.addEventListener(leave, hide);
}
// Focus scrolls its point into view, so the details move with it. For a pointer they disappear.
addEventListener("scroll", () => {
  const point = document.querySelector(".on");
  if (point && point === document.activeElement) show(point);
  else hide();
}, { passive: true, capture: true });
