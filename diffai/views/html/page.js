"use strict";
// Map, tree and table of a page, made out of the JSON beside it. Names are only ever set as text, never as markup.
(() => {
  const ROW = 28, SPARE = 12, MOST_ROLES = 64, NS = "http://www.w3.org/2000/svg";
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("diffai-data").textContent);
  const body = document.querySelector("#g tbody");
  if (!body) return;
  document.documentElement.classList.add("js");
  const grid = $("g"), frame = $("f"), query = $("q"), which = $("s"), modules = $("tree");

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
    element.append(...children.filter((child) => child !== null));
    return element;
  };
  const drawn = (tag, attributes, text) => {
    const element = document.createElementNS(NS, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };

  // ---- figures

  const sum = (list, value) => list.reduce((total, item) => total + value(item), 0);
  const known = (value) => value !== null && value !== undefined;
  const whole = (value) => (known(value) ? value.toLocaleString("en-US") : "");
  const short = (value) => {
    if (!known(value)) return "n/a";
    if (value === Infinity) return "from 0";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e-3 && size < 1000) return value.toFixed(Math.max(0, 2 - Math.floor(Math.log10(size))));
    return value.toExponential(2).replace(/e([+-])(\d)$/, "e$10$2");
  };
  const percent = (share) => (!share ? "" : share < 0.001 ? "<.1%" : (100 * share).toFixed(share < 0.1 ? 1 : 0) + "%");
  const ratio = (l2, old) => (!known(l2) || !known(old) ? null : old > 0 ? l2 / old : l2 > 0 ? Infinity : 0);

  const tensors = [];
  data.models.forEach((model, place) => {
    const total = (model.update_l2 || 0) ** 2;
    let before = "";
    model.rows.forEach((row, number) => {
      const name = (before = before.slice(0, row[0]) + row[1]);
      const [oldType, oldShape, newType, newShape, role] = data.specs[row[3]];
      const [l2, old, fresh, count, most] = row.slice(4, 9);
      const shape = newShape || oldShape, status = data.statuses[row[2]];
      tensors.push({
        name, place, status, role, oldType, oldShape, newType, newShape, l2, old, fresh, count, most,
        elements: shape.reduce((product, size) => product * size, 1),
        relative: ratio(l2, old),
        share: role === "parameter" && total && known(l2) ? l2 ** 2 / total : 0,
        differs: !["identical", "equal", "uncompared"].includes(status[0]),
        statistics: [row.slice(9, 13), row.slice(13, 17)],
        notes: (model.notes || {})[number] || [],
        histogram: (model.histograms || {})[number],
        number: tensors.length,
      });
    });
  });

  // ---- the tree of modules; a chain of modules with one child each is one line

  const several = data.models.length > 1;
  const node = (path, label, up) => ({ path, label, up, below: new Map(), leaves: [], open: false });
  const root = node("", "", null);
  root.open = true;
  for (const tensor of tensors) {
    const words = tensor.name.split(".");
    let at = root, path = "";
    if (several) words.unshift(data.models[tensor.place].path);
    for (const word of words.slice(0, -1)) {
      path += (path ? "\u0000" : "") + word;
      if (!at.below.has(word)) at.below.set(word, node(path, word, at));
      at = at.below.get(word);
    }
    tensor.up = at;
    tensor.label = words[words.length - 1];
    at.leaves.push(tensor);
  }
  const every = [];
  (function gather(at, depth) {
    for (const [word, child] of at.below) {
      let only = child;
      if (!child.below.size && child.leaves.length === 1) {
        const [leaf] = child.leaves;
        leaf.label = `${child.label}.${leaf.label}`;
        leaf.up = at;
        at.leaves.push(leaf);
        at.below.delete(word);
        continue;
      }
      while (!(several && at === root) && !only.leaves.length && only.below.size === 1) only = [...only.below.values()][0];
      if (only !== child) {
        only.label = only.path.split("\u0000").slice(at.path ? at.path.split("\u0000").length : 0).join(".");
        only.up = at;
        at.below.set(word, only);
      }
      gather(only, depth + 1);
    }
    at.depth = depth;
    const below = [...at.below.values()];
    at.tensors = [...at.leaves, ...below.flatMap((child) => child.tensors)];
    Object.assign(at, together(at.tensors), { number: Math.min(...at.tensors.slice(0, 1).map((t) => t.number), ...below.map((child) => child.number)) });
    every.push(at);
  })(root, 0);

  function together(list) {
    // As the update size: over pairs of equal shape, and over buffers only where there is nothing else.
    const pairs = list.filter((t) => t.oldShape && t.newShape && String(t.oldShape) === String(t.newShape));
    const weights = pairs.filter((t) => t.role === "parameter"), counted = weights.length ? weights : pairs;
    const unknown = counted.some((t) => !known(t.l2) || !known(t.old));
    const asked = list.filter((t) => t.newShape && (t.role === "parameter" || !weights.length));
    const few = 2 * sum(counted, (t) => t.elements) < sum(asked, (t) => t.elements); // too few of them have a partner
    return {
      changed: sum(list, (tensor) => (tensor.differs ? 1 : 0)),
      elements: sum(list, (tensor) => tensor.elements),
      count: sum(list, (tensor) => tensor.count || 0),
      few: few && counted.length > 0,
      relative: counted.length && !unknown && !few ? ratio(Math.sqrt(sum(counted, (t) => t.l2 ** 2)), Math.sqrt(sum(counted, (t) => t.old ** 2))) : null,
      share: sum(list, (tensor) => tensor.share),
    };
  }

  // ---- what is shown: filter, order, tree or list

  const flat = data.by_magnitude || tensors.length <= 12;
  const state = { key: data.by_magnitude ? "rel" : "share", down: true, tree: !flat, cur: 0, open: null, words: [], which: "" };
  const SORTS = {
    name: (row) => row.number, status: (row) => (row.tensors ? row.changed / row.tensors.length : row.differs ? 1 : 0),
    type: (row) => (row.tensors ? "" : type(row)), size: (row) => row.elements,
    rel: (row) => (known(row.relative) ? row.relative : -1), share: (row) => row.share, count: (row) => row.count || 0,
  };
  const CHOICES = [["", "all"], ["differs", "that differ"], ["added", "added"], ["removed", "removed"],
    ["renamed", "renamed"], ["reshaped", "reshaped"], ["cast", "cast"], ["changed", "changed values"],
    ["equal", "equal"], ["uncompared", "not compared"]];
  const has = (tensor, word) => !word || (word === "differs" ? tensor.differs
    : word === "equal" ? ["identical", "equal"].includes(tensor.status[0]) : tensor.status.includes(word));
  for (const [word, text] of CHOICES) {
    const count = sum(tensors, (tensor) => (has(tensor, word) ? 1 : 0));
    if (count || !word) which.append(make("option", { value: word }, `${text} (${whole(count)})`));
  }
  const fits = (tensor) => has(tensor, state.which)
    && state.words.every((word) => full(tensor).toLowerCase().includes(word));
  const full = (tensor) => (several ? data.models[tensor.place].path + ":" : "") + tensor.name;

  let lines = [];
  function rebuild() {
    const asked = state.words.length > 0 || state.which !== "";
    const shown = new Set(asked ? tensors.filter(fits) : tensors);
    const value = SORTS[state.key], turn = state.down ? -1 : 1;
    const sorted = (rows) => rows.slice().sort((a, b) => {
      const x = value(a), y = value(b);
      return x < y ? -turn : x > y ? turn : a.number - b.number;
    });
    lines = [];
    const walk = (at, level) => {
      const rows = [...[...at.below.values()].filter((child) => child.tensors.some((t) => shown.has(t))),
        ...at.leaves.filter((tensor) => shown.has(tensor))];
      for (const row of sorted(rows)) {
        lines.push({ row, level });
        if (row.tensors && (row.open || (state.words.length && shown.size <= 500))) walk(row, level + 1);
      }
    };
    if (state.tree) walk(root, 1);
    else lines = sorted([...shown]).map((row) => ({ row, level: 1 }));
    if (state.open && !lines.some((line) => line.row === state.open)) state.open = null;
    state.cur = Math.max(0, Math.min(state.cur, lines.length - 1));
    $("count").textContent = `${whole(shown.size)} of ${whole(tensors.length)} tensors`;
    frame.classList.toggle("few", !state.open && lines.length <= 20);
    modules.setAttribute("aria-pressed", state.tree);
    grid.setAttribute("aria-rowcount", lines.length + 1);
    paint(true);
  }

  // ---- rows are made when they are scrolled to

  let detailHeight = 0, first = -1, last = -1;
  const above = (number) => {
    const opened = state.open ? lines.findIndex((line) => line.row === state.open) : -1;
    return number * ROW + (opened >= 0 && number > opened ? detailHeight : 0);
  };
  function paint(again) {
    const opened = state.open ? lines.findIndex((line) => line.row === state.open) : -1;
    const all = printing ? Math.min(lines.length, 500) : lines.length;
    const top = frame.scrollTop, high = frame.clientHeight || 600;
    let from = printing ? 0 : Math.max(0, Math.floor((top - detailHeight) / ROW) - SPARE);
    const to = printing ? all : Math.min(all, Math.ceil((top + high) / ROW) + SPARE);
    from = Math.min(from, to);
    if (!again && from === first && to === last) return;
    [first, last] = [from, to];
    const rows = [];
    if (from > 0) rows.push(pad(above(from)));
    for (let number = from; number < to; number += 1) {
      rows.push(line(number));
      if (number === opened) rows.push(detail(state.open));
    }
    if (to < all) rows.push(pad(above(all) - above(to)));
    body.replaceChildren(...rows);
    const shown = body.querySelector("tr.d");
    if (shown) detailHeight = shown.getBoundingClientRect().height;
    else if (opened < 0) detailHeight = 0;
  }
  const pad = (height) => {
    const row = make("tr", { class: "pad", "aria-hidden": "true" }, make("td", { colspan: 8 }));
    row.style.height = `${height}px`;
    return row;
  };
  const type = (t) => {
    const shape = (sizes) => `[${sizes.join(", ")}]`;
    const types = t.oldType && t.newType && t.oldType !== t.newType ? `${t.oldType} -> ${t.newType}` : t.newType || t.oldType;
    const other = t.oldShape && t.newShape && shape(t.oldShape) !== shape(t.newShape);
    return types + " " + (other ? `${shape(t.oldShape)} -> ${shape(t.newShape)}` : shape(t.newShape || t.oldShape));
  };
  const sign = (t) => ({ added: "+", removed: "-", renamed: ">" })[t.status[0]] || (t.differs ? "~" : "=");
  const bar = (value) => {
    const place = value === Infinity ? 1 : Math.max(0.02, Math.min(1, 1 + Math.log10(value) / 4)), inner = make("i");
    inner.style.width = `${(100 * place).toFixed(0)}%`;
    return inner;
  };
  function line(number) {
    const { row, level } = lines[number], inner = Boolean(row.tensors);
    const mark = make("span", { class: "tw", "aria-hidden": "true" }, inner || row === state.open ? (isOpen(row) ? "▾" : "▸") : "");
    const name = make("span", { class: "n" }, state.tree ? row.label : full(row));
    const cell = make("td", {}, mark, name, inner ? make("span", { class: "soft" }, ` (${whole(row.tensors.length)})`) : null);
    cell.style.paddingLeft = `${0.6 + 1.1 * (level - 1)}rem`;
    cell.title = inner ? row.label : full(row);
    const words = inner ? row.changed ? `${whole(row.changed)} of ${whole(row.tensors.length)}` : "=" : `${sign(row)} ${row.status.join(", ")}`;
    const tone = inner ? "" : row.notes.some((note) => note.match(/^(NaN|[+-]Inf):/)) ? "problem" : ["added", "removed", "renamed"].includes(row.status[0]) ? row.status[0] : "";
    const relative = known(row.relative) && row.relative > 0;
    const changed = inner ? row.changed > 0 : row.differs;
    return make("tr", {
      class: changed ? "w" : "w same", id: `r${number}`, "data-n": number, "aria-level": level, "aria-rowindex": number + 2,
      "aria-selected": number === state.cur, "aria-expanded": inner || !state.tree || row === state.open ? isOpen(row) : null,
    }, cell, td(words, tone), td(inner ? "" : type(row)), td(whole(row.elements), ""),
    td(known(row.relative) ? (row.relative ? short(row.relative) : row.count ? "0" : "=") : row.few ? "n/c" : ""),
    td(percent(row.share)), td(row.count ? whole(row.count) : ""), make("td", {}, relative ? bar(row.relative) : null));
  }
  const td = (text, kind) => make("td", { class: kind || null, title: text.length > 24 ? text : null }, text);
  const isOpen = (row) => (row.tensors ? row.open || (state.words.length > 0 && lines.some((line) => line.row.up === row)) : row === state.open);

  function detail(t) {
    const table = make("table", {}, make("tr", {}, make("td"), make("th", { scope: "col" }, "old"), make("th", { scope: "col" }, "new")));
    ["mean", "std", "min", "max"].forEach((word, place) => {
      const [a, b] = t.statistics.map((side) => side[place]);
      if (known(a) || known(b)) table.append(make("tr", {}, make("th", { scope: "row" }, word), ...[a, b].map((v) => make("td", { class: "r t" }, known(v) ? String(v) : ""))));
    });
    const facts = make("table"), cosine = known(t.l2) && t.old > 0 && t.fresh > 0
      ? (t.old ** 2 + t.fresh ** 2 - t.l2 ** 2) / (2 * t.old * t.fresh) : null;
    const rows = [["type", type(t)], ["relative L2", known(t.relative) ? short(t.relative) : null], ["share of the update", percent(t.share)],
      ["cosine", cosine === null || !t.l2 ? null : Math.min(1, Math.max(-1, cosine)).toFixed(3)],
      ["values changed", known(t.count) && t.elements ? `${whole(t.count)} of ${whole(t.elements)} (${percent(t.count / t.elements) || "0"})` : null],
      ["greatest distance", known(t.most) ? short(t.most) : null], ["L2 of the update", known(t.l2) ? short(t.l2) : null],
      ["norm old, new", known(t.old) ? `${short(t.old)}, ${short(t.fresh)}` : null], ["role", t.role]];
    for (const [word, text] of rows) if (text) facts.append(make("tr", {}, make("th", { scope: "row" }, word), make("td", { class: "t" }, text)));
    const link = make("a", { href: address(t) }, "link to this row");
    const figure = t.histogram ? histogram(t.histogram) : null;
    return make("tr", { class: "d" }, make("td", { colspan: 8 }, make("p", { class: "n strong" }, full(t)),
      ...t.notes.map((note) => make("p", { class: "n" }, note)),
      make("div", { class: "cols" }, table.rows.length > 1 ? table : null, facts, figure), make("p", {}, link)));
  }
  // The old side as an area, the new one as a line over it, each as a share of its own side.
  function histogram([low, high, ...sides]) {
    const wide = 320, high_ = 90, svg = drawn("svg", { width: wide + 8, height: high_ + 20, role: "img", "aria-label": "Values, old as an area, new as a line" });
    const shares = sides.map((side) => side.map((count) => count / (sum(side, (n) => n) || 1)));
    const tall = Math.max(...shares.flat()) || 1;
    shares.forEach((side, place) => {
      const step = wide / side.length, path = side.map((share, n) => `L${4 + n * step} ${high_ - 84 * share / tall}H${4 + (n + 1) * step}`).join("");
      if (side.length) svg.append(drawn("path", { d: `M4 ${high_}${path}V${high_}`, class: place ? "hn" : "ho" }));
    });
    svg.append(drawn("text", { x: 4, y: high_ + 14 }, short(low)), drawn("text", { x: wide + 4, y: high_ + 14, "text-anchor": "end" }, short(high)));
    return make("figure", {}, svg, make("figcaption", { class: "soft" }, "values: old as an area, new as a line"));
  }

  // ---- moving about

  const address = (t) => "#t=" + encodeURIComponent(`${t.place}:${t.name}`);
  function select(number, scroll = true) {
    if (!lines.length) return;
    state.cur = Math.max(0, Math.min(lines.length - 1, number));
    const top = above(state.cur), head = 32;
    if (scroll && top < frame.scrollTop) frame.scrollTop = top;
    else if (scroll && top + ROW + head > frame.scrollTop + frame.clientHeight) frame.scrollTop = top + ROW + head - frame.clientHeight;
    paint(true);
    grid.setAttribute("aria-activedescendant", `r${state.cur}`);
  }
  function toggle(number, want) {
    const line = lines[number];
    if (!line) return;
    const row = line.row, now = isOpen(row), next = want === undefined ? !now : want;
    if (row.tensors) row.open = next;
    else {
      state.open = next ? row : null;
      detailHeight = 0;
    }
    rebuild();
    select(lines.findIndex((other) => other.row === row));
  }
  function show(row) {
    if (!row.tensors && !fits(row)) {
      query.value = which.value = state.which = "";
      state.words = [];
    }
    if (row.tensors) state.tree = true;
    for (let at = row.up; at; at = at.up) at.open = true;
    if (row.tensors) row.open = true;
    else state.open = row;
    rebuild();
    const number = lines.findIndex((line) => line.row === row);
    frame.scrollTop = Math.max(0, above(number) - frame.clientHeight / 3);
    select(number);
    frame.scrollIntoView({ block: "nearest" });
    grid.focus({ preventScroll: true });
  }
  function follow() {
    if (!location.hash.startsWith("#t=")) return;
    let text;
    try { text = decodeURIComponent(location.hash.slice(3)); } catch { return; }
    const place = Number(text.slice(0, text.indexOf(":"))), name = text.slice(text.indexOf(":") + 1);
    const found = tensors.find((tensor) => tensor.place === place && tensor.name === name)
      || every.filter((at) => at !== root && at.tensors[0].place === place && (at.tensors[0].name + ".").startsWith(name + ".")
        && at.tensors.every((tensor) => tensor.name.startsWith(name + "."))).sort((a, b) => b.tensors.length - a.tensors.length)[0];
    if (found) show(found);
  }

  frame.addEventListener("scroll", () => paint(false), { passive: true });
  window.addEventListener("resize", () => paint(true));
  window.addEventListener("hashchange", follow);
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr.w");
    if (row && !String(getSelection())) toggle(Number(row.dataset.n));
  });
  for (const head of grid.querySelectorAll("thead th[data-key]")) {
    const key = head.dataset.key, button = make("button", { type: "button" }, head.textContent);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      state.down = state.key === key ? !state.down : key !== "name";
      state.key = key;
      marks();
      frame.scrollTop = 0;
      state.cur = 0;
      rebuild();
    });
  }
  function marks() {
    for (const head of grid.querySelectorAll("thead th[data-key]")) {
      if (head.dataset.key === state.key) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }
  const filtered = () => {
    state.words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    state.which = which.value;
    frame.scrollTop = 0;
    state.cur = 0;
    rebuild();
  };
  query.addEventListener("input", filtered);
  which.addEventListener("change", filtered);
  modules.addEventListener("click", () => { state.tree = !state.tree; frame.scrollTop = 0; rebuild(); });
  const openAll = (open) => { for (const at of every) at.open = open || at === root; state.tree = true; rebuild(); };
  $("all").addEventListener("click", () => openAll(true));
  $("none").addEventListener("click", () => { state.open = null; openAll(false); });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input, select, button, textarea, a, summary"), here = frame.contains(event.target);
    if (event.target === query) {
      if (event.key === "Escape" && query.value) { query.value = ""; filtered(); }
      else if (event.key !== "Escape" && event.key !== "Enter" && event.key !== "ArrowDown") return;
      grid.focus();
    } else if (event.key === "/" && !event.target.matches("input, textarea")) query.focus();
    else if (typing || $("map").contains(event.target)) return;
    else if (event.key === "j" || (here && event.key === "ArrowDown")) select(state.cur + 1);
    else if (event.key === "k" || (here && event.key === "ArrowUp")) select(state.cur - 1);
    else if (event.key === "e" || (here && event.key === "Enter")) toggle(state.cur);
    else if (here && event.key === "ArrowRight") toggle(state.cur, true);
    else if (here && event.key === "ArrowLeft") left();
    else if (here && event.key === "Home") select(0);
    else if (here && event.key === "End") select(lines.length - 1);
    else if (here && event.key === "PageDown") select(state.cur + 15);
    else if (here && event.key === "PageUp") select(state.cur - 15);
    else return;
    event.preventDefault();
  });
  function left() {
    const line = lines[state.cur];
    if (line && isOpen(line.row)) toggle(state.cur, false);
    else if (line && line.row.up !== root) select(Math.max(0, lines.findIndex((other) => other.row === line.row.up)));
  }
  let printing = false;
  window.addEventListener("beforeprint", () => { printing = true; paint(true); });
  window.addEventListener("afterprint", () => { printing = false; paint(true); });

  // ---- the map: a column a layer, a row a role

  function cells() {
    const columns = new Map(), roles = new Map(), found = new Map();
    const split = (name, fold) => {
      const words = name.split("."), number = words.findIndex((word, place) => place > 0 && word.match(/^\d+$/));
      const end = number > 0 && number < words.length - 1 ? number + 1 : Math.max(1, words.length - 1);
      const role = words.slice(end).join(".") || "(itself)";
      return [words.slice(0, end).join("."), fold ? role.replace(/(^|\.)\d+(?=\.|$)/g, "$1*") : role];
    };
    const fold = new Set(tensors.map((t) => split(t.name, false)[1])).size > MOST_ROLES;
    for (const t of tensors) {
      if (t.role === "training" || (several && data.models[t.place].one_sided)) continue;
      const [layer, role] = split(t.name, fold), column = several ? `${data.models[t.place].path}: ${layer}` : layer, key = column + "\u0000" + role;
      if (!columns.has(column)) columns.set(column, columns.size);
      if (!roles.has(role)) roles.set(role, []);
      roles.get(role).push(t);
      if (!found.has(key)) found.set(key, { column, role, list: [] });
      found.get(key).list.push(t);
    }
    return { columns, roles, found };
  }
  const scale = (cell) => {
    const list = cell.list;
    if (list.every((t) => t.status[0] === "added")) return "kp";
    if (list.every((t) => t.status[0] === "removed")) return "km";
    if (!list.some((t) => t.differs)) return list.some((t) => t.status[0] === "uncompared") ? "kn" : "k0";
    const value = together(list).relative;
    if (!known(value)) return "kn";
    const limits = [1e-4, 1e-3, 1e-2, 1e-1, 1];
    return value === 0 ? "k0" : `k${1 + limits.filter((limit) => value >= limit).length}`;
  };
  function map() {
    const { columns, roles, found } = cells();
    if (found.size < 4) return $("maps").remove();
    const names = [...roles.keys()];
    let rows = names;
    if (rows.length > MOST_ROLES) {
      rows = names.slice().sort((a, b) => sum(roles.get(b), (t) => t.share) - sum(roles.get(a), (t) => t.share)).slice(0, MOST_ROLES);
    }
    const order = new Map(rows.map((role, place) => [role, place]));
    const size = columns.size > 400 ? 6 : columns.size > 120 ? 9 : 14;
    const cut = (text, most) => (text.length > most ? "…" + text.slice(1 - most) : text);
    const wide = Math.min(34, Math.max(...rows.map((role) => role.length))) * 6.4 + 10;
    // Columns that are numbers of one stack stand below its name; others are written upwards.
    const places = [...columns.keys()], heads = [];
    for (const [place, column] of places.entries()) {
      const parts = column.match(/^(.*)\.(\d+)$/), stack = parts ? parts[1] : column;
      const before = heads[heads.length - 1];
      if (parts && before && before.stack === stack && before.numbered) before.end = place;
      else heads.push({ stack, start: place, end: place, numbered: Boolean(parts) });
    }
    const last = (at) => places[at].split(".").pop();
    for (const head of heads) {
      head.text = cut(head.stack, 28) + (head.end > head.start ? ` [${last(head.start)}-${last(head.end)}]` : head.numbered ? "." + last(head.start) : "");
      head.fits = (head.end - head.start + 1) * size >= head.text.length * 6.4;
    }
    const slanted = heads.filter((head) => !head.fits && (head.end > head.start || size > 9)).map((head) => head.text.length);
    const high = Math.max(24, 16 + 5 * Math.max(0, ...slanted));
    const svg = drawn("svg", { width: wide + columns.size * size + 90, height: high + rows.length * size + 6, role: "img", "aria-label": "Map of the network" });
    for (const head of heads) {
      const from = wide + head.start * size, long = (head.end - head.start + 1) * size;
      if (head.fits) svg.append(drawn("text", { x: from + 3, y: high - 5 }, head.text));
      else if (head.end > head.start || size > 9) svg.append(drawn("text", { transform: `translate(${from + long / 2 + 4} ${high - 5}) rotate(-50)` }, head.text));
      if (head.start > 0 && head.end > head.start) svg.append(drawn("line", { x1: from - 0.5, x2: from - 0.5, y1: high - 14, y2: high + rows.length * size, stroke: "var(--soft)" }));
    }
    rows.forEach((role, place) => {
      if (size >= 9 || place % 2 === 0) svg.append(drawn("text", { x: wide - 6, y: high + place * size + size * 0.78, "text-anchor": "end" }, cut(role, 34)));
    });
    const at = new Map();
    const group = drawn("g", {});
    for (const cell of found.values()) {
      if (!order.has(cell.role)) continue;
      cell.x = columns.get(cell.column);
      cell.y = order.get(cell.role);
      cell.box = drawn("rect", { x: wide + cell.x * size, y: high + cell.y * size, width: size, height: size, class: scale(cell) });
      cell.box.cell = cell;
      at.set(`${cell.x},${cell.y}`, cell);
      group.append(cell.box);
    }
    svg.append(group);
    $("map").replaceChildren(svg);
    let on = null;
    const tell = (cell) => {
      if (on) on.box.classList.remove("on");
      on = cell;
      if (!cell) return;
      cell.box.classList.add("on");
      group.append(cell.box);
      const figures = together(cell.list), many = cell.list.length > 1 ? `${whole(cell.list.length)} tensors, ` : "";
      const words = cell.list.length === 1 ? cell.list[0].status.join("+") : `${whole(figures.changed)} differ`;
      $("say").textContent = `${cell.column} · ${cell.role}: ${many}${words}`
        + (figures.relative ? `, relative L2 ${short(figures.relative)}` : "") + (figures.share ? `, ${percent(figures.share)} of the update` : "");
    };
    const lead = (cell) => {
      const list = cell.list.slice().sort((a, b) => b.share - a.share || (b.relative || 0) - (a.relative || 0));
      show(list[0]);
    };
    if (rows.length < names.length) $("say").textContent = `${whole(names.length - rows.length)} more roles that moved less are in the table only`;
    svg.addEventListener("mouseover", (event) => event.target.cell && tell(event.target.cell));
    svg.addEventListener("click", (event) => event.target.cell && lead(event.target.cell));
    $("map").addEventListener("keydown", (event) => {
      const [dx, dy] = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key] || [0, 0];
      if (event.key === "Enter" && on) lead(on);
      else if (!dx && !dy) return;
      else if (!on) tell([...at.values()][0]);
      else {
        let [x, y] = [on.x + dx, on.y + dy];
        while (x >= 0 && y >= 0 && x < columns.size && y < rows.length && !at.has(`${x},${y}`)) [x, y] = [x + dx, y + dy];
        if (at.has(`${x},${y}`)) tell(at.get(`${x},${y}`));
      }
      if (on) on.box.scrollIntoView({ block: "nearest", inline: "nearest" });
      event.preventDefault();
    });
  }

  // A tree opens as far as a screen holds it.
  for (let more = true; more;) {
    more = false;
    let rows = 0;
    const open = [];
    (function walk(at) {
      for (const child of at.below.values()) {
        rows += 1;
        if (child.open) walk(child);
        else open.push(child);
      }
      rows += at.leaves.length;
    })(root);
    open.sort((a, b) => b.share - a.share);
    for (const at of open) {
      const added = at.below.size + at.leaves.length;
      if (at.changed && rows + added <= (at.share > 0.2 ? 80 : 24)) {
        at.open = more = true;
        break;
      }
    }
  }
  grid.setAttribute("role", "treegrid");
  grid.setAttribute("aria-label", "Tensors");
  grid.tabIndex = 0;
  marks();
  rebuild();
  map();
  follow();
})();
