"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { runs, texts, series } = data;
  const byId = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  // Everything is put in as text, never as markup: names come from files.
  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }
  function draw(parent, tag, attributes, text) {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }

  // --- words ---
  const UNITS = {
    "frames/s": [[1e9, "Gpps"], [1e6, "Mpps"], [1e3, "kpps"], [1, "pps"]],
    "s": [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]],
    "ratio": [[0.01, "%"]],
  };
  function digits(value, count) {
    if (value === 0) return "0";
    const text = value.toPrecision(count);
    return text.includes("e") ? String(Number(text)) : text;
  }
  function quantity(value, unit, count = 4) {
    const scales = UNITS[unit] || [[1, unit]];
    const [factor, name] = scales.find(([size]) => Math.abs(value) >= size) || scales[scales.length - 1];
    return `${digits(value / factor, count)} ${name}`.trim();
  }
  function percent(ratio) {
    if (ratio === null) return "from zero";
    const value = 100 * ratio;
    return `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value).toFixed(Math.abs(value) < 10 ? 2 : 1)} %`;
  }
  const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);
  const minute = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ") + " UTC";
  const at = (one, index) => runs[one.runs[index]][1];
  const verdict = (change) => (change.worse ? "worse" : "better");
  const arrow = (change) => (change.after < change.before ? "▼" : "▲");
  const last = (list) => list[list.length - 1];

  // --- the list ---
  const rows = series.map((one) => {
    const change = last(one.changes);
    const found = make("div", { class: `last ${one.state.replace(" ", "-")}` });
    found.append(make("span", { class: "badge" }, change ? `${arrow(change)} ${percent(change.ratio)}` : one.state));
    const drift = one.drift === null ? "" : `drifts ${percent(one.drift)}`;
    found.append(make("small", {}, [change ? day(at(one, change.began)) : "", drift].filter(Boolean).join(", ")));
    const name = make("div", {}, make("strong", { title: one.name }, one.name), make("small", {}, `${one.metric} · ${one.lab}`));
    const spark = document.createElementNS(SVG, "svg");
    spark.setAttribute("viewBox", "0 0 260 40");
    spark.setAttribute("aria-hidden", "true");
    const now = make("div", { class: "now number" }, quantity(last(one.values), one.unit));
    const node = make("li", {}, make("a", { href: `#${one.key}` }, name, spark, now, found));
    return { one, node, spark, text: `${one.name} ${one.metric} ${one.lab} ${one.suite}`.toLowerCase() };
  });
  const sight = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      sight.unobserve(entry.target);
      sparkline(entry.target.row);
    }
  }, { rootMargin: "400px" });
  for (const row of rows) {
    row.node.row = row;
    sight.observe(row.node);
  }

  function range(values) {
    const sorted = [...values].sort((a, b) => a - b);
    const [low, high] = [sorted[0], last(sorted)];
    const gap = (high - low) * 0.08 || Math.abs(high) * 0.05 || 1;
    return [low - gap, high + gap];
  }
  function sparkline({ one, spark }) {
    const [low, high] = range(one.values);
    const [from, to] = [at(one, 0), at(one, one.values.length - 1)];
    const x = (index) => 4 + (252 * (at(one, index) - from)) / (to - from || 1);
    const y = (value) => 38 - (36 * (value - low)) / (high - low);
    // More than two points a pixel are no picture.
    const stride = Math.max(1, Math.floor(one.values.length / 520));
    let path = "";
    for (let i = 0; i < one.values.length; i += stride) path += `${path ? "L" : "M"}${x(i).toFixed(1)} ${y(one.values[i]).toFixed(1)}`;
    draw(spark, "path", { class: "trace", d: path });
    for (const change of one.changes) {
      draw(spark, "circle", { class: `mark ${verdict(change)}`, cx: x(change.began).toFixed(1), cy: y(change.after).toFixed(1), r: 4 });
    }
  }

  // --- filters ---
  function options(id, name, values) {
    byId(id).append(make("option", { value: "" }, "all"), ...values.map((value) => make("option", { value }, value)));
    byId(id).addEventListener("input", show);
  }
  const each = (name) => [...new Set(series.map((one) => one[name]))].sort();
  const FILTERS = ["lab", "suite", "metric", "state"];
  for (const name of FILTERS) options(name, name, each(name));
  byId("text").addEventListener("input", show);
  byId("sort").addEventListener("input", show);
  const tiles = [...document.querySelectorAll(".tile")];
  for (const tile of tiles) {
    tile.addEventListener("click", () => {
      const wanted = byId("state").value === tile.dataset.state ? "" : tile.dataset.state;
      if (wanted && !each("state").includes(wanted)) return;
      byId("state").value = wanted;
      show();
    });
  }
  const worst = (one) => Math.min(...one.changes.map((c) => (c.worse ? -Math.abs(c.ratio ?? 1e9) : 0)), 0);
  const newest = (one) => (one.changes.length ? at(one, last(one.changes).began) : -Infinity);
  const byName = (a, b) => a.text.localeCompare(b.text, "en", { numeric: true });
  const SORTS = {
    changed: (a, b) => newest(b.one) - newest(a.one) || byName(a, b),
    worst: (a, b) => worst(a.one) - worst(b.one) || byName(a, b),
    name: byName,
  };
  let shown = rows;
  function show() {
    const words = byId("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = rows
      .filter(({ one, text }) => FILTERS.every((name) => !byId(name).value || one[name] === byId(name).value) && words.every((word) => text.includes(word)))
      .sort(SORTS[byId("sort").value]);
    byId("list").replaceChildren(...shown.map((row) => row.node));
    byId("count").textContent = `${shown.length} of ${rows.length} series`;
    for (const tile of tiles) tile.setAttribute("aria-pressed", String(byId("state").value === tile.dataset.state));
  }

  // --- one series ---
  let current = null;
  let cursor = -1;
  let scrolled = 0;
  let move = () => {};

  function nice(low, high, count) {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const ticks = [];
    for (let value = Math.ceil(low / step) * step; value <= high; value += step) ticks.push(value);
    return ticks;
  }
  function months(from, to, count) {
    const all = [];
    const start = new Date(from * 1000);
    for (let m = 1; all.length < 1000; m += 1) {
      const seconds = Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + m, 1) / 1000;
      if (seconds > to) break;
      all.push(seconds);
    }
    const stride = Math.ceil(all.length / count);
    return all.filter((_, index) => index % stride === 0);
  }

  function chart(one) {
    const host = byId("chart");
    const width = Math.max(300, host.clientWidth);
    const height = Math.max(240, Math.min(400, width * 0.5));
    const [left, right, top, bottom] = [94, 12, 34, 26];
    const [low, high] = range(one.values);
    const [from, to] = [at(one, 0), at(one, one.values.length - 1)];
    const span = to - from || 1;
    const x = (index) => left + 6 + ((width - left - right - 12) * (at(one, index) - from)) / span;
    const y = (value) => height - bottom - ((height - top - bottom) * (value - low)) / (high - low);
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("aria-hidden", "true");
    for (const value of nice(low, high, 5)) {
      draw(svg, "path", { class: "grid", d: `M${left} ${y(value)}H${width - right}` });
      draw(svg, "text", { class: "end", x: left - 8, y: y(value) + 4 }, quantity(value, one.unit));
    }
    for (const seconds of months(from, to, width / 80)) {
      const place = left + 6 + ((width - left - right - 12) * (seconds - from)) / span;
      draw(svg, "path", { class: "grid", d: `M${place} ${top}V${height - bottom}` });
      draw(svg, "text", { class: "mid name", x: place, y: height - 8 }, day(seconds).slice(0, 7));
    }
    one.environments.forEach(([index], number) => {
      const place = (x(index) + x(index - 1)) / 2;
      draw(svg, "path", { class: "environment", d: `M${place} ${top}V${height - bottom}` });
      draw(svg, "text", { class: "environment", x: place, y: top - 20 + 12 * (number % 2) }, number + 1);
    });
    one.changes.forEach((change, number) => {
      const end = number + 1 < one.changes.length ? x(one.changes[number + 1].began) : width - right;
      draw(svg, "rect", { class: `shade ${verdict(change)}`, x: x(change.began), y: top, width: Math.max(1, end - x(change.began)), height: height - top - bottom });
    });
    const beyond = new Set(one.censored);
    const radius = one.values.length > 700 ? 1.6 : 2.6;
    one.values.forEach((value, index) => {
      draw(svg, "circle", { class: beyond.has(index) ? "beyond" : "night", cx: x(index).toFixed(1), cy: y(value).toFixed(1), r: radius });
    });
    const edges = [0, ...one.changes.map((change) => change.began), one.values.length];
    for (let i = 0; i + 1 < edges.length; i += 1) {
      const middle = [...one.values.slice(edges[i], edges[i + 1])].sort((a, b) => a - b);
      const level = middle[Math.floor(middle.length / 2)];
      draw(svg, "path", { class: "level", d: `M${x(edges[i])} ${y(level)}H${x(edges[i + 1] - 1)}` });
    }
    for (const change of one.changes) {
      const place = x(change.began);
      draw(svg, "path", { class: `step ${verdict(change)}`, d: `M${place} ${y(change.before)}V${y(change.after)}` });
      const flip = place > width - 90;
      draw(svg, "text", { class: `ratio ${verdict(change)}${flip ? " end" : ""}`, x: place + (flip ? -5 : 5), y: top + 14 }, `${arrow(change)} ${percent(change.ratio)}`);
    }
    const line = draw(svg, "path", { class: "cursor", d: "" });
    const here = draw(svg, "circle", { class: "here", r: 0 });
    host.replaceChildren(svg);
    move = (index) => {
      cursor = Math.max(0, Math.min(one.values.length - 1, index));
      line.setAttribute("d", `M${x(cursor)} ${top}V${height - bottom}`);
      here.setAttribute("cx", x(cursor));
      here.setAttribute("cy", y(one.values[cursor]));
      here.setAttribute("r", 5);
      tell(one, cursor);
    };
    host.onpointermove = host.onpointerdown = (event) => {
      const place = ((event.clientX - svg.getBoundingClientRect().left) * width) / svg.clientWidth;
      let best = 0;
      for (let i = 1; i < one.values.length; i += 1) if (Math.abs(x(i) - place) < Math.abs(x(best) - place)) best = i;
      move(best);
    };
  }
  function tell(one, index) {
    const [run, seconds, link] = runs[one.runs[index]];
    const parts = [make("strong", {}, quantity(one.values[index], one.unit, 5)), ` on ${minute(seconds)}, run `];
    parts.push(link ? make("a", { href: link }, run) : run);
    if (one.several[index]) parts.push(` and ${one.several[index] - 1} more that night (median)`);
    if (one.censored.includes(index)) parts.push(", at the end of the line or the generator");
    const environment = one.environments.find(([where]) => where === index);
    if (environment) parts.push(`; with this night: ${texts[environment[1]] || "another environment"}`);
    byId("point").replaceChildren(...parts);
  }
  byId("chart").addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: cursor - 1, ArrowRight: cursor + 1, Home: 0, End: current.values.length - 1 };
    if (event.key in steps) {
      move(steps[event.key]);
      event.preventDefault();
    } else if (event.key === "Enter" && cursor >= 0 && runs[current.runs[cursor]][2]) {
      location.href = runs[current.runs[cursor]][2];
    }
  });
  function table(head, body) {
    const cells = (tag, row) => make("tr", {}, ...row.map((cell) => (cell instanceof Node ? cell : make(tag, tag === "th" ? { scope: "col" } : {}, cell))));
    return make("table", {}, make("thead", {}, cells("th", head)), make("tbody", {}, ...body.map((row) => cells("td", row))));
  }
  const nothing = (text) => make("p", { class: "note" }, text);

  function open(one) {
    current = one;
    byId("name").textContent = one.name;
    const change = last(one.changes);
    const state = make("span", { class: `badge ${one.state.replace(" ", "-")}` }, change ? `${verdict(change)} since ${day(at(one, change.began))}` : one.state);
    const drift = one.drift === null ? "" : `; since then it drifts: ${percent(one.drift)}`;
    byId("standing").replaceChildren(`${one.metric} in lab ${one.lab}, ${one.better} is better; `, state, drift);
    byId("changes").replaceChildren(one.changes.length
      ? table(["Began", "Told", "Change", "Before", "After"], [...one.changes].reverse().map((c) => [
          day(at(one, c.began)), day(at(one, c.found)), make("td", { class: verdict(c) }, `${arrow(c)} ${percent(c.ratio)}`),
          quantity(c.before, one.unit), quantity(c.after, one.unit)]))
      : nothing("None by as much as counts."));
    byId("environments").replaceChildren(one.environments.length
      ? table(["", "Night", "What changed"], one.environments.map(([index, text], number) => [String(number + 1), day(at(one, index)), texts[text] || "another environment"]).reverse())
      : nothing("The same all the time."));
    const place = shown.findIndex((row) => row.one === one);
    for (const [id, row] of [["previous", shown[place - 1]], ["next", shown[place + 1]]]) {
      if (row && place >= 0) byId(id).href = `#${row.one.key}`;
      else byId(id).removeAttribute("href");
    }
    chart(one);
    move(one.values.length - 1);
  }
  function route() {
    const wanted = location.hash.slice(1);
    const one = wanted && series.find((candidate) => candidate.key === wanted);
    if (one && !current) scrolled = window.scrollY;
    byId("overview").hidden = Boolean(one);
    byId("detail").hidden = !one;
    if (one) {
      open(one);
      window.scrollTo(0, 0);
      byId("name").focus({ preventScroll: true });
    } else if (current) {
      const left = rows.find((row) => row.one === current);
      current = null;
      window.scrollTo(0, scrolled);
      left.node.firstChild.focus({ preventScroll: true });
    }
  }
  window.addEventListener("hashchange", route);
  window.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && current) location.hash = "";
  });
  let waiting = 0;
  window.addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => current && (chart(current), move(cursor)));
  });
  show();
  route();
  document.documentElement.dataset.ready = "yes";
})();
