// Comfort only: every page works without this file.
"use strict";

const all = document.getElementById("all");
if (all) {
  const boxes = [...document.querySelectorAll("input[name=hold]")];
  const selected = document.getElementById("selected");
  const count = () => {
    const ticked = boxes.filter((box) => box.checked).length;
    selected.textContent = `${ticked} selected`;
    all.checked = ticked === boxes.length;
    all.indeterminate = ticked > 0 && ticked < boxes.length;
  };
  all.hidden = false;
  all.addEventListener("change", () => { boxes.forEach((box) => { box.checked = all.checked; }); count(); });
  boxes.forEach((box) => box.addEventListener("change", count));
  count();
}

// Says that there is news, and leaves what is being read or typed alone.
const changed = document.getElementById("changed");
const list = document.getElementById("count");
const hold = document.getElementById("summary");
async function look() {
  const url = hold ? `/api/holds/${hold.dataset.hold}` : `/api/holds?limit=1&state=${list.dataset.state}`;
  const answer = await fetch(url, { headers: { accept: "application/json" } });
  if (!answer.ok) return;
  const now = await answer.json();
  const differs = hold
    ? now.state !== hold.dataset.state
    : String(now.total) !== list.dataset.total.replaceAll(",", "");
  if (differs) changed.hidden = false;
}
if (changed && (hold || list)) {
  setInterval(() => { if (!document.hidden) look().catch(() => {}); }, 4000);
}
