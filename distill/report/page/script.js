"use strict";
// Model text reaches the page through textContent alone; there is no innerHTML in this file.
(() => {
  const byId = (id) => document.getElementById(id);
  const make = (tag, kind, text) => {
    const node = document.createElement(tag);
    if (kind) node.className = kind;
    if (text !== undefined) node.textContent = text;
    return node;
  };

  const root = document.documentElement, theme = byId("theme");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { theme.textContent = dark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `Switch to the ${dark() ? "light" : "dark"} theme`); };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  name();

  const source = byId("data-rows");
  if (!source) return;
  const { systems, metric, rows } = JSON.parse(source.textContent);
  const PAGE = 10, WORDS = { lost: "student lost", won: "student won", tie: "tie" };
  const COLOURS = { teacher: "teacher", student: "student", base: "base", "prompted base": "prompted" };
  const list = byId("rows"), search = byId("search"), split = byId("split"), buttons = [...document.querySelectorAll("[data-filter]")];
  let filter = "all", found = rows, page = 0, here = -1, haystacks = null;

  // Rows of two splits are never counted or shown as one.
  const inside = (row) => !split || row.split === split.value;
  const passes = (row, wanted) => inside(row) && fits(row, wanted);
  const fits = (row, wanted) => wanted === "all" || (wanted === "format" || wanted === "flipped" ? row[wanted] : row.outcome === wanted);
  // Made when a search first needs them, so that 10,000 rows do not slow the load.
  const haystack = (at) => {
    haystacks ??= rows.map((row) => [row.input, row.gold, ...row.said.map((said) => said ? said.text : "")].join("\n").toLowerCase());
    return haystacks[at];
  };

  function tally() {
    for (const button of buttons) {
      const count = rows.reduce((sum, row) => sum + (passes(row, button.dataset.filter) ? 1 : 0), 0);
      button.querySelector("b").textContent = count.toLocaleString("en");
      button.disabled = count === 0;
    }
  }

  for (const button of buttons) button.addEventListener("click", () => choose(button.dataset.filter));
  split?.addEventListener("change", () => { tally(); choose("all"); });

  function choose(wanted) {
    const button = buttons.find((each) => each.dataset.filter === wanted);
    if (!button || button.disabled) return;
    filter = wanted;
    for (const each of buttons) each.setAttribute("aria-pressed", String(each === button));
    narrow();
  }

  function narrow() {
    const text = search.value.trim().toLowerCase();
    found = rows.filter((row, at) => passes(row, filter) && (!text || haystack(at).includes(text)));
    page = 0;
    here = -1;
    draw();
  }

  function card(row, at) {
    const item = make("li"), head = make("p", "head"), said = make("div", "said");
    item.tabIndex = -1;
    head.append(make("span", `tag ${row.outcome}`, WORDS[row.outcome] ?? row.outcome));
    if (row.format) head.append(make("span", "tag format", "format error"));
    if (row.flipped) head.append(make("span", "tag flipped", "judge flipped"));
    head.append(make("span", "", `${(at + 1).toLocaleString("en")} of ${found.length.toLocaleString("en")}, ${row.split} split`));
    const gold = make("p", "gold text");
    gold.append(make("span", "quiet", row.split === "gold" ? "right answer: " : "expected: "), make("strong", "", row.gold));
    row.said.forEach((answer, place) => {
      if (!answer) return;
      const box = make("div", COLOURS[systems[place]] ?? "other"), title = make("h4", "", systems[place]);
      const [kind, words] = answer.score === null ? ["wrong", "format error"]
        : ["accuracy", "exact", "same_number"].includes(metric) ? (answer.score === 1 ? ["right", "right"] : ["wrong", "wrong"])
        : ["", answer.score.toFixed(2)];
      title.append(make("span", kind, answer.cut ? `${words}, cut off` : words));
      const body = make("p", "text", answer.answer ?? (answer.text === "" ? "(nothing)" : answer.text));
      body.dir = "auto";
      box.append(title, body);
      if (answer.answer !== null) {
        const wrote = make("p", "text quiet wrote", `wrote: ${answer.text}`);
        wrote.dir = "auto";
        box.append(wrote);
      }
      said.append(box);
    });
    const input = make("p", "input text", row.input);
    input.dir = "auto";
    item.append(head);
    if (row.input) item.append(input);
    item.append(gold, said);
    return item;
  }

  function draw() {
    const first = page * PAGE, pages = Math.max(1, Math.ceil(found.length / PAGE));
    list.replaceChildren(...found.slice(first, first + PAGE).map((row, place) => card(row, first + place)));
    byId("found").textContent = found.length === 0 ? "No row fits." : `${found.length.toLocaleString("en")} ${found.length === 1 ? "row" : "rows"}`;
    byId("page").textContent = `Page ${(page + 1).toLocaleString("en")} of ${pages.toLocaleString("en")}`;
    byId("before").disabled = page === 0;
    byId("after").disabled = page === pages - 1;
    document.querySelector(".pages").hidden = pages === 1;
  }

  function turn(by) {
    const to = page + by;
    if (to < 0 || to * PAGE >= found.length) return;
    page = to;
    here = -1;
    draw();
    byId("answers").scrollIntoView({ block: "start" });
  }

  function move(by) {
    const to = Math.min(Math.max(here + by, 0), found.length - 1);
    if (to < 0) return;
    if (Math.floor(to / PAGE) !== page) { page = Math.floor(to / PAGE); draw(); }
    here = to;
    [...list.children].forEach((item, place) => item.classList.toggle("here", place === to % PAGE));
    const item = list.children[to % PAGE];
    item.focus({ preventScroll: true });
    item.scrollIntoView({ block: "nearest" });
  }

  let waiting = 0;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(narrow, 80); });
  byId("before").addEventListener("click", () => turn(-1));
  byId("after").addEventListener("click", () => turn(1));
  const FILTERS = ["all", "lost", "won", "tie", "format", "flipped"];
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === search) { if (event.key === "Escape") search.blur(); return; }
    if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "/") { event.preventDefault(); search.focus(); }
    else if (event.key >= "0" && event.key <= "5" && event.key.length === 1) choose(FILTERS[Number(event.key)]);
  });
  for (const part of document.querySelectorAll(".tools, .keys")) part.hidden = false;
  tally();
  narrow();
})();
