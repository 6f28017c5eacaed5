// Comfort only: every page works without this file.
"use strict";

const all = document.getElementById("all");
if (all) {
  const boxes = [...document.querySelectorAll("input[name=hold]")];
  const selected = document.getElementById("selected");
  const count = () => {
    const ticked = boxes.filter((box) => box.checked).length;
    if (selected) selected.textContent = `${ticked} selected; you are asked once more.`;
    all.checked = ticked > 0 && ticked === boxes.length;
    all.indeterminate = ticked > 0 && ticked < boxes.length;
  };
  all.hidden = false;
  all.addEventListener("change", () => { boxes.forEach((box) => { box.checked = all.checked; }); count(); });
  boxes.forEach((box) => box.addEventListener("change", count));
  count();
}

// What is typed stays in this window until it is sent, also while its writer signs in again.
const id = document.getElementById("summary")?.dataset.hold;
const form = document.querySelector("form[data-draft]");
try {
  const own = form && `draft ${form.dataset.draft} ${id}`;
  // A form that is not there any more was sent, or is over.
  for (const name of ["decide", "withdraw", "revoke"]) {
    const other = `draft ${name} ${id}`;
    if (id && other !== own) sessionStorage.removeItem(other);
  }
  if (form) {
    const fields = [...form.querySelectorAll("textarea, select")];
    const kept = JSON.parse(sessionStorage.getItem(own) || "[]");
    fields.forEach((field, at) => { if (!field.value && typeof kept[at] === "string") field.value = kept[at]; });
    form.addEventListener("input", () => sessionStorage.setItem(own, JSON.stringify(fields.map((field) => field.value))));
  }
  // The next one at this browser is to find nothing.
  document.querySelector("form[action='/signout']")?.addEventListener("submit", () => sessionStorage.clear());
} catch { /* A browser that keeps nothing. */ }

// Times go on while the page is looked at.
const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
function span(seconds) {
  const at = units.findIndex(([size]) => seconds >= size);
  let rest = seconds;
  const parts = units.slice(at < 0 ? 3 : at).slice(0, 2).map(([size, name]) => {
    const count = Math.floor(rest / size);
    rest %= size;
    return [count, name];
  });
  return parts.filter(([count], index) => index === 0 || count > 0).map((part) => part.join(" ")).join(" ");
}
function tick() {
  const now = Math.floor(Date.now() / 1000);
  for (const time of document.querySelectorAll("time[data-at]")) {
    const left = Number(time.dataset.at) - now;
    time.textContent = left > 0 ? `in ${span(left)}` : left > -5 ? "just now" : `${span(-left)} ago`;
  }
  const fresh = document.getElementById("fresh");
  if (fresh) {
    const left = Number(fresh.dataset.at) - now;
    if (left < 0) fresh.textContent = "Your sign-in does not count for decisions any more: sign in again in another window, then send this.";
    fresh.className = left < 120 ? "warn" : "muted";
  }
}
// A clock that is far from the service's would tell wrong times: then those stay that the service wrote.
const clock = document.getElementById("clock");
if (clock && Math.abs(Number(clock.dataset.now) - Date.now() / 1000) < 30) setInterval(tick, 1000);

// Says that there is news, and leaves what is being read or typed alone.
const changed = document.getElementById("changed");
const list = document.getElementById("count");
const hold = document.getElementById("summary");
const sum = (missing) => missing.reduce((all, one) => all + one.approvals, 0);
async function look() {
  if (list && !list.dataset.query) return;
  const url = hold ? `/api/holds/${hold.dataset.hold}` : `/api/holds?${list.dataset.query}`;
  const answer = await fetch(url, { headers: { accept: "application/json" } });
  if (answer.status === 401) {
    document.getElementById("ended").hidden = false;
    return;
  }
  if (!answer.ok) return;
  const now = await answer.json();
  const stamp = hold
    ? [now.state, sum(now.missing), now.decisions.length, now.decisions.filter((one) => one.withdrawn_at !== null).length,
      now.outcomes.length, now.outcome || "none"].join(" ")
    : now.items.map((one) => `${one.id}:${sum(one.missing)}`).join(" ");
  changed.hidden = stamp === (hold || list).dataset.stamp
    && (!list || String(now.total) === list.dataset.total.replaceAll(",", ""));
}
if (changed && (hold || list)) {
  setInterval(() => { if (!document.hidden) look().catch(() => {}); }, 4000);
}
