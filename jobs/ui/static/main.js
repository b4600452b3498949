// The page: puts list, stage and panels together, and says how things stand.

import { Clicking } from "./click.js";
import { drawCurve } from "./curve.js";
import { Keys } from "./keys.js";
import { LongList } from "./list.js";
import { REASONS, Reviewing } from "./review.js";
import { Lost, Outbox, ask, send, tab } from "./server.js";
import { Stage } from "./stage.js";

const AHEAD = 3;
const at = (id) => document.getElementById(id);
const state = { mode: "click", writes: true, about: {}, status: {}, map: false, curve: false, lost: false, unsent: 0, note: "" };

const outbox = new Outbox((waiting, error) => {
  state.unsent = waiting;
  state.lost = error instanceof Lost;
  state.wasLost ||= state.lost;
  if (error && !state.lost) say(error.message, true);
  showSaved();
});

const stage = new Stage(at("stage"), at("lens"), at("lens-at"), {
  click: (x, y, onObject) => {
    if (!state.writes) return say("These clicks are open in another tab; here you can only look.", true);
    at("welcome").hidden = true;
    current().add(x, y, onObject);
  },
  moved: () => {},
});

const hooks = {
  stage, outbox, say, changed, broken, preparing, next,
  counted: (place, objects, done) => list.refresh(place, { ...(objects !== undefined && { objects }), ...(done !== undefined && { done }) }),
  decided: (place, verdict) => queue.refresh(place, verdict),
};
const clicking = new Clicking(hooks);
const reviewing = new Reviewing(hooks);
const current = () => (state.mode === "click" ? clicking : reviewing);
const currentList = () => (state.mode === "click" ? list : queue);

const list = new LongList(at("list"), {
  fetchPage: async (start, limit) => {
    const found = await ask("/api/images", { start, limit, search: at("search").value, show: at("show").value });
    state.found = found;
    showFoot();
    return { rows: found.names, total: found.total };
  },
  describe: (row) => ({
    picture: row.image,
    name: row.image.split("/").at(-1),
    sub: [row.image.includes("/") ? row.image.slice(0, row.image.lastIndexOf("/")) : "", row.doubtful ? "doubtful" : ""].filter(Boolean).join(" · "),
    badge: row.done ? `✓ ${row.objects || ""}` : row.objects ? String(row.objects) : "",
    kind: row.done ? "done" : "",
  }),
  choose: (row, place) => clicking.open(row.image, () => ahead(list, place, (each) => each.image), place),
  failed: (error) => say(error.message, true),
});

const queue = new LongList(at("queue"), {
  fetchPage: async (start, limit) => {
    const found = await ask("/api/review", { start, limit });
    at("queue-foot").textContent = found.ready ? `${found.total} objects, the most doubtful first` : "Sorting the queue …";
    return found;
  },
  describe: (row) => ({
    picture: row.image,
    name: titleOf(row),
    sub: row.reasons.map((reason) => reason.replaceAll("_", " ")).join(", ") || row.image,
    badge: { accept: "✓", reject: "✕" }[row.verdict] ?? (row.score === null ? "" : row.score.toFixed(2)),
    kind: row.verdict ?? "",
  }),
  choose: (row, place) => reviewing.open(row, place, () => ahead(queue, place, (each) => each.image)),
  failed: (error) => say(error.message, true),
});

const titleOf = ({ category, object }) => (category === object ? object : `${category} ${object}`);

// The images that come next, each once and none of them this one.
async function ahead(of, place, imageOf) {
  const now = imageOf(of.rows[place]);
  const found = [];
  for (let next = place + 1; found.length < AHEAD && next < place + 40; next++) {
    const row = of.rows[next] ?? (found.length ? undefined : await of.at(next));
    if (!row) break;
    if (imageOf(row) !== now && !found.includes(imageOf(row))) found.push(imageOf(row));
  }
  return found;
}

function next(step) {
  const of = currentList();
  if (of.selected + step < 0 || of.selected + step >= of.total) return say(step > 0 ? "That was the last one." : "That is the first one.");
  return of.select(of.selected + step);
}

async function nextUnclicked() {
  for (let place = list.selected + 1; place < list.total; place++) {
    const row = await list.at(place);
    if (row && !row.objects && !row.done) return list.select(place);
  }
  return say("Every image after this one has clicks.");
}

function switchTo(mode) {
  if (mode === state.mode || (mode === "review" && !state.about.reviews)) return;
  state.mode = mode;
  state.map = false;
  for (const [id, shown] of [["list-panel", "click"], ["click-tools", "click"], ["queue-panel", "review"], ["review-tools", "review"]]) at(id).hidden = mode !== shown;
  at("to-click").setAttribute("aria-pressed", mode === "click");
  at("to-review").setAttribute("aria-pressed", mode === "review");
  at("welcome").hidden = true;
  say("");
  if (mode === "review") openQueue();
  else if (list.selected >= 0) list.select(list.selected);
  else list.select(0);
}

// What another tab has written since.
function openAnew() {
  clicking.histories.clear();
  const of = currentList();
  if (of.selected >= 0) of.choose(of.rows[of.selected], of.selected);
}

// Nobody who has begun is thrown back to the first mask.
async function openQueue() {
  await queue.load();
  if (queue.selected >= 0) return;
  const first = queue.rows.findIndex((row) => row && !row.verdict);
  await queue.select(Math.max(0, first));
}

let painting = false;
function changed() {
  if (painting) return;
  painting = true;
  requestAnimationFrame(() => { painting = false; paint(); });
}

function paint() {
  const now = current();
  const name = now.image ?? "";
  const size = now.loaded ? `${now.width} × ${now.height}` : "";
  at("title").replaceChildren(name, Object.assign(document.createElement("small"), { textContent: size }));
  document.title = name ? `${name} – m2n2` : "m2n2";
  if (now.loaded) stage.show({ objects: now.shown(), opacity: at("opacity").value / 100 }, false);
  if (state.mode === "click") paintObjects(); else paintReview();
  showMap();
  showCurve();
  showSaved();
}

function paintObjects() {
  const { objects, active } = clicking;
  const box = at("objects");
  const editing = document.activeElement?.matches?.("#objects input") ? document.activeElement : null;
  if (editing) { // a text field that somebody types in stays as it is
    box.querySelectorAll(".object").forEach((card, index) => { if (objects[index]) fillCard(card, objects[index], active); });
    if (box.children.length === objects.length) return;
  }
  const focused = document.activeElement?.dataset?.of;
  box.replaceChildren(...objects.map((object) => fillCard(makeCard(object), object, active)));
  if (!objects.length) box.append(Object.assign(document.createElement("p"), { className: "hint", textContent: "No objects yet: click on one." }));
  if (focused) box.querySelector(`[data-of="${CSS.escape(focused)}"]`)?.focus();
  const history = clicking.image ? clicking.history() : { past: [], future: [] };
  at("undo").disabled = !history.past.length;
  at("redo").disabled = !history.future.length;
  at("done").setAttribute("aria-pressed", Boolean(clicking.done));
  at("new-object").disabled = !clicking.loaded;
}

function makeCard(object) {
  const card = document.createElement("div");
  card.className = "object";
  card.style.setProperty("--colour", object.colour);
  const choose = Object.assign(document.createElement("button"), { className: "choose", textContent: object.name });
  choose.dataset.of = `choose ${object.name}`;
  choose.addEventListener("click", () => { clicking.active = object; changed(); });
  const category = Object.assign(document.createElement("input"), { type: "text", value: object.category, spellcheck: false });
  category.setAttribute("list", "categories");
  category.setAttribute("aria-label", `Category of object ${object.name}`);
  category.addEventListener("focus", () => { clicking.active = object; category.select(); });
  category.addEventListener("change", () => { clicking.rename(object, category.value); category.value = object.category; });
  category.addEventListener("keydown", (event) => { if (event.key === "Enter") { category.blur(); at("stage").focus(); } });
  const remove = Object.assign(document.createElement("button"), { className: "remove", textContent: "✕", title: "Remove (Del)" });
  remove.setAttribute("aria-label", `Remove object ${object.name}`);
  remove.addEventListener("click", () => { if (state.writes) clicking.remove(object); });
  card.append(choose, category, remove, Object.assign(document.createElement("div"), { className: "score" }));
  return card;
}

function fillCard(card, object, active) {
  card.classList.toggle("active", object === active);
  card.querySelector(".choose").setAttribute("aria-pressed", object === active);
  const score = card.querySelector(".score");
  const clicks = `${object.clicks.length} click${object.clicks.length === 1 ? "" : "s"}`;
  const found = object.score === null || object.score === undefined ? (object.pending ? "…" : "") : `${object.exact ? "" : "≈ "}score ${object.score.toFixed(2)}`;
  score.replaceChildren(
    Object.assign(document.createElement("span"), { textContent: clicks }),
    Object.assign(document.createElement("span"), { textContent: found, className: object.score < 0.5 && object.score !== null ? "low" : "" }),
  );
  return card;
}

function paintReview() {
  const { row, active } = reviewing;
  at("review-object").textContent = row ? titleOf(row) : "";
  const score = row && row.score !== null ? ` Score ${row.score.toFixed(2)}.` : "";
  const said = row?.verdict ? ` ${row.verdict === "accept" ? "Accepted" : `Rejected: ${row.said}`}.` : "";
  at("review-why").textContent = row ? reviewing.why() + score + said : "";
  at("accept").firstChild.textContent = active?.added?.length ? "Fixed, next " : "Accept ";
  at("review-tools").querySelectorAll("button").forEach((button) => { button.disabled = !row; });
}

async function showMap() {
  const clicks = current().active?.clicks ?? [];
  const last = clicks.at(-1);
  const wanted = state.map && last && current().loaded ? [current().image, last[0], last[1]].join(" ") : "";
  if (wanted === state.mapOf) return;
  state.mapOf = wanted;
  if (!wanted) return stage.show({ map: null }, false);
  try {
    await current().looking.ready();
    const map = await createImageBitmap(await ask("/api/map", { image: current().image, x: last[0], y: last[1] }));
    if (state.mapOf === wanted) stage.show({ map }, false);
  } catch (error) { state.mapOf = ""; say(error.message, true); }
}

async function showCurve() {
  at("curve-figure").hidden = !state.curve;
  const object = current().active;
  const last = object?.clicks.at(-1);
  const taken = object?.thresholds?.at(-1);
  const wanted = state.curve && last && current().loaded ? [current().image, last[0], last[1], taken].join(" ") : "";
  if (wanted === state.curveOf) return;
  state.curveOf = wanted;
  if (!wanted) return drawCurve(at("curve"), { thresholds: [], scores: [] });
  try {
    await current().looking.ready();
    const curve = await ask("/api/curve", { image: current().image, x: last[0], y: last[1] });
    if (state.curveOf === wanted) drawCurve(at("curve"), curve, taken);
  } catch (error) { state.curveOf = ""; say(error.message, true); }
}

function toggle(what) {
  state[what] = !state[what];
  at(`toggle-${what}`).setAttribute("aria-pressed", state[what]);
  changed();
}

function showSaved() {
  const saved = at("saved");
  saved.className = `saved${state.lost ? " lost" : state.unsent ? " waiting" : ""}`;
  if (state.lost) saved.textContent = state.unsent ? `Server lost; ${state.unsent} change${state.unsent === 1 ? "" : "s"} wait here` : "Server lost; trying again";
  else saved.textContent = state.unsent ? "Saving …" : `Saved in ${state.about.clicks?.split("/").at(-1) ?? ""}`;
}

function showFoot() {
  const { found } = state;
  if (!found) return;
  const narrowed = at("search").value || at("show").value !== "all";
  at("list-foot").textContent = `${narrowed ? `${found.total} of ` : ""}${found.listed.toLocaleString("en")} image${found.listed === 1 ? "" : "s"}${found.complete ? "" : ", still listing …"}`;
}

const HINTS = {
  click: "Left click: on the object · right click: beside it · drag: move · wheel: zoom · N: next object · PgDn: next image",
  review: "A: accept · 1 to 6: reject, because … · S: skip · click on the image: mend the mask · U: take back",
};

function say(text, bad = false) {
  at("message").textContent = text || HINTS[state.mode];
  at("message").className = bad ? "bad" : "";
  at("message").title = text;
}

function broken(error, retry) {
  at("broken").hidden = !error;
  if (!error) return;
  at("broken-text").textContent = error.message;
  at("broken-retry").onclick = retry;
}

function preparing(image, busy) {
  if (image !== current().image) return;
  state.note = busy ? (state.status.model === "loading" ? "Loading the model …" : "Making the image ready …") : "";
  at("stage-note").textContent = state.note;
  at("stage-note").hidden = !state.note;
}

function heard(event) {
  if (state.wasLost) {
    state.lost = state.wasLost = false;
    say("The server is back.");
    outbox.flush();
    for (const each of [clicking, reviewing]) each.goOn();
  }
  if (event.type === "role") {
    state.writes = event.writes;
    at("other-tab").hidden = event.writes;
    return;
  }
  const before = state.status;
  state.status = event;
  if (event.review === "ready" && before.review !== "ready" && state.mode === "review" && !queue.total) openQueue();
  if (event.model !== before.model && event.model !== "ready" && event.model !== "loading") say(`No masks: ${event.model}. Clicks are saved all the same.`, true);
  if (event.review && !["ready", "sorting"].includes(event.review) && event.review !== before.review) say(`No review: ${event.review}`, true);
  if (event.problem) say(event.problem, true);
  else if (before.problem) say("");
  at("retry").hidden = !event.problem;
  if (state.found && (event.listed !== state.found.listed || event.complete !== state.found.complete)) {
    Object.assign(state.found, { listed: event.listed, complete: event.complete });
    if (!at("search").value && at("show").value === "all") list.grow(event.listed);
    if (list.selected < 0 && event.listed && state.mode === "click") list.select(0);
    showFoot();
  }
  if (state.note) preparing(current().image, true);
  showSaved();
}

function listen() {
  const events = new EventSource(`/api/events?tab=${tab}`);
  events.onmessage = (message) => heard(JSON.parse(message.data));
  events.onerror = () => { state.lost = state.wasLost = true; showSaved(); };
}

const click = (onObject) => () => stage.clickCross(onObject);
const arrow = (dx, dy, far) => () => stage.moveCross(dx, dy, far);
const pressed = (id) => () => at(id).click();
const slide = (by) => () => { at("opacity").value = Number(at("opacity").value) + by; changed(); };
const keys = new Keys([
  ["Clicks", null, [
    [[" ", "Enter"], "click on the object (mouse: left button)", click(true)],
    [["x", "Alt+Enter", "Alt+ "], "click beside it (mouse: right button, or Alt and left)", click(false)],
    [["ArrowUp"], "move the cross", arrow(0, -1), ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"]],
    [["Shift+ArrowUp"], "move it far", arrow(0, -1, true), ["Shift+ArrowUp"]],
    [["ArrowDown"], "", arrow(0, 1), []], [["ArrowLeft"], "", arrow(-1, 0), []], [["ArrowRight"], "", arrow(1, 0), []],
    [["Shift+ArrowDown"], "", arrow(0, 1, true), []], [["Shift+ArrowLeft"], "", arrow(-1, 0, true), []], [["Shift+ArrowRight"], "", arrow(1, 0, true), []],
  ]],
  ["Objects and images", "click", [
    [["n"], "new object", pressed("new-object")],
    [["[", "]"], "object before, object after", (event) => clicking.choose(event.key === "[" ? -1 : 1)],
    [["c"], "category of the object", () => { paint(); at("objects").querySelector(".active input")?.focus(); }],
    [["Delete", "Backspace"], "remove the object", () => { if (state.writes) clicking.remove(); }],
    [["u", "Ctrl+z"], "undo", pressed("undo")],
    [["y", "Ctrl+y", "Ctrl+Shift+z"], "redo", pressed("redo")],
    [["d"], "done with this image, or not", pressed("done")],
    [["PageDown", "j"], "next image", () => next(1)],
    [["PageUp", "k"], "image before", () => next(-1)],
    [["w"], "next image without clicks", nextUnclicked],
    [["/"], "search names", () => at("search").focus()],
    [["f"], "which images are listed", () => at("show").focus()],
  ]],
  ["Review", "review", [
    [["a"], "accept, next", pressed("accept")],
    [REASONS.map((_, index) => String(index + 1)), "reject with a reason, next", (event) => at("reasons").children[Number(event.key) - 1].click(), ["1", "…", String(REASONS.length)]],
    [["s", "PageDown", "j"], "skip", pressed("skip")],
    [["b", "PageUp", "k"], "back", pressed("back")],
    [["u", "Ctrl+z"], "take back: the last click, then the decision", pressed("undecide")],
  ]],
  ["View", null, [
    [["+", "="], "zoom in (mouse: wheel)", () => stage.zoom(1.4), ["+"]],
    [["-"], "zoom out", () => stage.zoom(1 / 1.4)],
    [["0"], "all of the image", () => stage.fit()],
    [[",", "."], "masks fainter, stronger", (event) => slide(event.key === "," ? -15 : 15)()],
    [["h"], "hide the masks, or show them", () => { at("opacity").value = at("opacity").value > 0 ? 0 : 45; changed(); }],
    [["m"], "Markov-map of the last click", () => toggle("map")],
    [["t"], "its thresholds", () => toggle("curve")],
  ]],
  ["Page", null, [
    [["g"], "between clicking and review", () => switchTo(state.mode === "click" ? "review" : "click")],
    [["i"], "to the image", () => at("stage").focus()],
    [["l"], "to the list", () => currentList().element.focus()],
    [["?"], "this sheet", () => at("keys").showModal()],
  ]],
], () => state.mode);

async function begin() {
  keys.fill(at("key-table"));
  say("");
  REASONS.forEach((reason, index) => {
    const button = document.createElement("button");
    button.append(reason, Object.assign(document.createElement("kbd"), { textContent: index + 1 }));
    button.addEventListener("click", () => { if (state.writes) reviewing.decide("reject", reason); });
    at("reasons").append(button);
  });
  const when = (id, action) => at(id).addEventListener("click", action);
  const writing = (action) => () => { if (state.writes) action(); };
  when("show-keys", () => at("keys").showModal());
  when("close-keys", () => at("keys").close());
  when("to-click", () => switchTo("click"));
  when("to-review", () => switchTo("review"));
  when("new-object", writing(() => { clicking.begin(); at("stage").focus(); }));
  when("undo", writing(() => clicking.undo()));
  when("redo", writing(() => clicking.redo()));
  when("done", writing(() => clicking.markDone()));
  when("accept", writing(() => reviewing.decide("accept", null)));
  when("skip", () => next(1));
  when("back", () => next(-1));
  when("undecide", writing(() => reviewing.undo()));
  when("toggle-map", () => toggle("map"));
  when("toggle-curve", () => toggle("curve"));
  when("take-over", async () => { await send("/api/write", { take_over: true }); openAnew(); });
  when("retry", async () => { await send("/api/retry", {}); list.load(); });
  at("opacity").addEventListener("input", changed);
  let typed = 0;
  at("search").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(() => list.load(), 150); });
  at("show").addEventListener("change", () => list.load());
  addEventListener("beforeunload", (event) => { if (outbox.waiting.length) event.preventDefault(); });
  listen();
  try {
    const [about] = await Promise.all([ask("/api/about"), list.load()]);
    state.about = about;
    at("to-review").hidden = !about.reviews;
    clicking.allow(about.takes_others ? null : about.categories);
    at("categories").replaceChildren(...about.categories.map((value) => Object.assign(document.createElement("option"), { value })));
    showSaved();
    if (list.total) await list.select(0);
    at("welcome").hidden = list.rows.some((row) => row?.objects);
    at("stage").focus();
  } catch (error) { say(error.message, true); }
}

begin();
