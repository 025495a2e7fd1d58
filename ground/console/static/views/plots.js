// Archive and real time in one: band of least and greatest, mean, limits, events, from years to a second, over SCET or ERT.
import uPlot from "uplot";
import { api, attempt, go, html, number, stamp, useEffect, useRef, useState } from "../lib.js";
import { events, find, names as live, now, owlt } from "../live.js";
import { LayoutBar } from "./layouts.js";

const SPANS = [["10 min", 600e3], ["1 h", 3600e3], ["6 h", 6 * 3600e3], ["1 d", 86400e3], ["30 d", 30 * 86400e3], ["1 y", 365.25 * 86400e3]];
const MOST = 6, SHORTEST = 20;
const LIMITS = [["critical low", "--bad"], ["warning low", "--warn"], ["warning high", "--warn"], ["critical high", "--bad"]];
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const sync = uPlot.sync("plots");

// A view's link: plots/NAME,NAME/scet|ert/SPAN or FROM-TO, in milliseconds.
let last = { names: ["PWR_BUS_VOLTAGE"], axis: "scet", width: 3600e3, range: null };
function read([names, axis, when]) {
  const [from, to] = (when ?? "").split("-").map(Number);
  last = { names: names ? names.split(",").filter(Boolean).slice(0, MOST) : last.names, axis: ["scet", "ert"].includes(axis) ? axis : last.axis,
    width: !to && from > 0 ? from : last.width, range: to > from ? [from, to] : when ? null : last.range };
  return last;
}
const write = (s) => `plots/${s.names.join(",")}/${s.axis}/${s.range ? s.range.map(Math.round).join("-") : s.width}`;

const time = (step) => (s) => {
  const at = new Date(s * 1000).toISOString();
  if (step >= 86400 || at.slice(11, 19) === "00:00:00") return at.slice(step >= 86400 * 28 ? 0 : 5, step >= 86400 * 28 ? 7 : 10);
  return step >= 60 ? at.slice(11, 16) : at.slice(11, step >= 1 ? 19 : 23);
};

// Limits that lie near the data are in the picture; those far away would flatten it.
function near(low, high, limits) {
  const span = high - low || Math.abs(high) * 0.01 || 1;
  let [a, b] = [low - 0.08 * span, high + 0.08 * span];
  for (const one of limits ?? []) if (one !== null && one > low - 1.5 * span && one < high + 1.5 * span) { a = Math.min(a, one - 0.06 * span); b = Math.max(b, one + 0.06 * span); }
  return [a, b];
}

function series(data, live) {
  const x = data.time.map((t) => t / 1000), numeric = data.minimum.every((v) => typeof v === "number" || v === null);
  if (!numeric) return [x, data.count, data.count, data.count];
  const out = [x, [...data.mean], [...data.minimum], [...data.maximum]];
  if (live && live[0] > (data.time.at(-1) ?? 0) && live[0] <= data.to) {
    out[0].push(live[0] / 1000);
    for (const k of [1, 2, 3]) out[k].push(live[1]);
  }
  return out;
}

function Chart({ name, state, marks, marked, height, ends, setRange, close }) {
  const [data, setData] = useState(null), [failed, fail] = useState(""), [took, setTook] = useState(0);
  const box = useRef(null), plot = useRef(null), shown = useRef(null);
  const { axis, range, width } = state;
  useEffect(() => {
    let open = true;
    const load = async () => {
      const [from, to] = ends(), began = performance.now();
      const found = await api("GET", `/plot?name=${encodeURIComponent(name)}&from=${from}&to=${to}&points=1200&axis=${axis}`).catch((e) => { if (open) fail(e.message); return null; });
      if (open && found) { fail(""); setData({ ...found, from, to }); setTook(performance.now() - began); }
    };
    if (now.value) load();
    const timer = setInterval(() => { if (!range && now.value) load(); }, 2000);
    return () => { open = false; clearInterval(timer); };
  }, [name, axis, range?.[0], range?.[1], width, now.value > 0]);
  const newest = find(name), live = newest && typeof newest.value[0] === "number" ? [newest.block[axis], newest.value[0]] : null;
  shown.current = { data, marks, marked };
  const labels = data?.labels ?? {}, enumerated = Object.keys(labels).length > 0, ready = data !== null;
  useEffect(() => {
    if (!ready || !box.current) return;
    const draw = (u) => {
      const { ctx, bbox } = u, { data, marks, marked } = shown.current;
      ctx.save();
      ctx.beginPath(); ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height); ctx.clip();
      ctx.font = `${11 * devicePixelRatio}px system-ui`; ctx.textAlign = "left"; ctx.textBaseline = "bottom"; ctx.lineWidth = devicePixelRatio;
      (data.limits ?? []).forEach((value, k) => {
        if (value === null || value < u.scales.y.min || value > u.scales.y.max) return;
        const y = u.valToPos(value, "y", true);
        ctx.strokeStyle = ctx.fillStyle = css(LIMITS[k][1]); ctx.setLineDash([6, 4]);
        ctx.beginPath(); ctx.moveTo(bbox.left, y); ctx.lineTo(bbox.left + bbox.width, y); ctx.stroke();
        ctx.fillText(`${LIMITS[k][0]} ${number(value)}`, bbox.left + 6, y - 2 * devicePixelRatio);
      });
      ctx.setLineDash([]);
      if (marks) marked.forEach((e, k) => {
        const x = u.valToPos(e[axis] / 1000, "x", true);
        ctx.strokeStyle = ctx.fillStyle = css(e.severity === "critical" ? "--bad" : "--warn");
        // Where there are many, warnings are ticks above the curve, not bars before it.
        const whole = e.severity === "critical" || marked.length <= 14;
        ctx.globalAlpha = whole ? 0.75 : 1;
        ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + (whole ? bbox.height : 12 * devicePixelRatio)); ctx.stroke();
        if (marked.length <= 14) { ctx.save(); ctx.translate(x + 4, bbox.top + 4); ctx.rotate(Math.PI / 2); ctx.fillText(e.name, 0, 0); ctx.restore(); }
      });
      ctx.restore();
    };
    const look = { stroke: css("--dim"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line") } };
    plot.current = new uPlot({
      width: box.current.clientWidth, height, tzDate: (s) => uPlot.tzDate(new Date(s * 1e3), "Etc/UTC"),
      scales: { x: {}, y: { range: (u, low, high) => (low === null ? [0, 1] : near(low, high, shown.current.data.limits)) } },
      series: [{ label: `${axis.toUpperCase()} (UTC)`, value: (u, v) => (v === null ? "--" : new Date(v * 1000).toISOString().slice(0, 23).replace("T", " ")) },
        ...["mean", "least", "greatest"].map((label, k) => ({ label, value: (u, v) => (v === null || v === undefined ? "--" : labels[v] ?? number(v)), stroke: k ? "transparent" : css("--accent"), width: 1.5, points: { show: k ? false : (u) => u.data[0].length < 80 } }))],
      bands: [{ series: [3, 2], fill: css("--accent") + "40" }],
      axes: [{ ...look, values: (u, splits, index, space, step) => splits.map(time(step)) },
        { ...look, size: enumerated ? 110 : 70, values: enumerated ? (u, splits) => splits.map((v) => labels[v] ?? "") : (u, splits) => splits.map(number) }],
      cursor: { drag: { x: true, y: false, setScale: false }, sync: { key: sync.key, setSeries: false } },
      hooks: { draw: [draw], setSelect: [(u) => {
        if (u.select.width < 4) return;
        const [a, b] = [u.posToVal(u.select.left, "x") * 1000, u.posToVal(u.select.left + u.select.width, "x") * 1000];
        u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        setRange([a, b]);
      }] },
    }, [[], [], [], []], box.current);
    const fit = () => plot.current?.setSize({ width: box.current.clientWidth, height });
    addEventListener("resize", fit);
    return () => { removeEventListener("resize", fit); plot.current?.destroy(); plot.current = null; };
  }, [ready, name, axis, height, enumerated, document.documentElement.dataset.theme]);
  useEffect(() => {
    if (!data || !plot.current) return;
    plot.current.setData(series(data, range ? null : live), false);
    plot.current.setScale("x", { min: data.from / 1000, max: data.to / 1000 });
  }, [data, live?.[0], ready, axis, height, enumerated, marks, marked.length, document.documentElement.dataset.theme]);
  const save = (blob, suffix) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob); link.download = `${name}.${suffix}`; link.click();
    URL.revokeObjectURL(link.href);
  };
  const png = () => {
    const from = box.current.querySelector("canvas"), to = document.createElement("canvas"), ctx = to.getContext("2d"), head = 26 * devicePixelRatio;
    to.width = from.width; to.height = from.height + head;
    ctx.fillStyle = css("--panel"); ctx.fillRect(0, 0, to.width, to.height);
    ctx.fillStyle = css("--text"); ctx.font = `${13 * devicePixelRatio}px system-ui`;
    ctx.fillText(`${name}${data.unit ? `, ${data.unit}` : ""}  ·  ${stamp(data.from)} to ${stamp(data.to)} UTC, ${axis.toUpperCase()}`, 8 * devicePixelRatio, 17 * devicePixelRatio);
    ctx.drawImage(from, 0, head);
    to.toBlob((blob) => save(blob, "png"));
  };
  // Every sample, made by the server; files are by SCET, also where arrival is looked at.
  const file = (format) => attempt(async () => {
    const shift = axis === "ert" ? owlt() ?? 0 : 0;
    const answer = await fetch(`/api/v1/export?name=${encodeURIComponent(name)}&from=${data.from - shift}&to=${data.to - shift}&format=${format}`);
    if (!answer.ok) throw new Error((await answer.json()).error);
    save(await answer.blob(), format);
  });
  const limits = (data?.limits ?? []).map((v, k) => v !== null && `${LIMITS[k][0]} ${number(v)}`).filter(Boolean);
  return html`<section class="panel chart" aria-label=${name}><div class="row"><h2>${name} <span class="dim">${data?.unit ?? ""}</span>${newest ? html` <b class="num now">${number(newest.value[0])} ${newest.value[1]}</b>` : ""}</h2>
      <span class="dim chrome">${data ? `${number(data.count.reduce((a, b) => a + b, 0))} samples in ${data.time.length} bins of ${data.width_ms < 1e-3 ? "one sample" : data.width_ms < 1 ? "one instant" : `${number(data.width_ms / 1000)} s`} · ${Math.round(took)} ms` : "…"}${limits.length ? ` · ${limits.join(", ")}` : ""}</span>
      <span class="chrome"><button onClick=${png} disabled=${!data}>PNG</button> <button onClick=${() => file("csv")} disabled=${!data}>CSV</button> <button onClick=${() => file("parquet")} disabled=${!data}>Parquet</button>
      ${close && html` <button onClick=${close} aria-label=${`Close ${name}`}>×</button>`}</span></div>
    ${failed && html`<p class="warning" role="status">${failed}</p>`}
    ${data?.behind_s > 0 && html`<p class="warning" role="status">Stale: the archive that is read here is ${number(Math.round(data.behind_s))} s behind what was received.</p>`}
    <div ref=${box} role="img" aria-label=${`Plot of ${name}`}></div></section>`;
}

// Keeps what is being typed while the view is drawn again around it.
function Pick({ label, size, value, disabled, done }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  return html`<label>${label} <input list="names" size=${size} value=${text} disabled=${disabled} onInput=${(e) => setText(e.target.value)}
    onChange=${(e) => { done(e.target.value.trim().toUpperCase()); setText(value); }} /></label>`;
}

export function Plots({ rest }) {
  const state = read(rest), { names, axis, range, width } = state;
  const [known, setKnown] = useState([]), [marks, setMarks] = useState(true), [old, setOld] = useState([]);
  useEffect(() => { api("GET", "/parameters").then(setKnown).catch(() => {}); }, []);
  const set = (change) => go(write({ ...state, ...change }), true);
  const ends = () => range ?? [now.value - (axis === "scet" ? owlt() ?? 0 : 0) - width, now.value - (axis === "scet" ? owlt() ?? 0 : 0)];
  const [from, to] = ends();
  // Events before the page was opened are the archive's; an hour more for those by ERT.
  useEffect(() => {
    if (!marks || !now.value) return;
    api("GET", `/archived-events?from=${Math.max(0, from - 3600e3)}&to=${to}`).then(setOld).catch(() => setOld([]));
  }, [marks, range?.[0], range?.[1], width, axis, now.value > 0]);
  const marked = [...new Map([...old, ...events.value].filter((e) => e.severity !== "info" && e[axis] >= from && e[axis] <= to).map((e) => [`${e.name} ${e.scet} ${e.text}`, e])).values()];
  const setRange = ([a, b]) => set({ range: b - a < SHORTEST ? [(a + b - SHORTEST) / 2, (a + b + SHORTEST) / 2] : [a, b] });
  const zoom = (factor) => { const [a, b] = ends(), m = (a + b) / 2, h = ((b - a) / 2) * factor; setRange([m - h, m + h]); };
  const pan = (part) => { const [a, b] = ends(); setRange([a + part * (b - a), b + part * (b - a)]); };
  const key = (e) => {
    const does = { "+": () => zoom(0.5), "-": () => zoom(2), ArrowLeft: () => pan(-0.5), ArrowRight: () => pan(0.5) }[e.key];
    if (does && !["INPUT", "SELECT"].includes(e.target.tagName)) { e.preventDefault(); does(); }
  };
  const all = [...new Set([...known.map((k) => k.name), ...live.value])].sort();
  const add = (name, instead) => { if (name) set({ names: instead ? [name] : [...new Set([...names, name])].slice(-MOST) }); };
  const height = Math.max(150, (innerHeight - (document.documentElement.dataset.wall ? 150 : 235)) / names.length - 105);
  return html`<div onKeyDown=${key}><div class="row chrome"><${Pick} label="Parameter" size="22" value=${names[0]} done=${(name) => add(name, true)} />
      <${Pick} label="Add" size="14" value="" disabled=${names.length >= MOST} done=${add} />
      <datalist id="names">${all.map((n) => html`<option value=${n} />`)}</datalist>
      <span role="group" aria-label="Span">${SPANS.map(([label, ms]) => html`<button aria-pressed=${!range && width === ms} class=${!range && width === ms ? "primary" : ""} onClick=${() => set({ range: null, width: ms })}>${label}</button>`)}</span>
      <span><button onClick=${() => zoom(0.5)} aria-label="Zoom in" title="+">+</button><button onClick=${() => zoom(2)} aria-label="Zoom out" title="-">−</button><button onClick=${() => pan(-0.5)} aria-label="Earlier" title="←">◀</button><button onClick=${() => pan(0.5)} aria-label="Later" title="→">▶</button></span>
      <span role="group" aria-label="Axis">${["scet", "ert"].map((a) => html`<button aria-pressed=${axis === a} class=${axis === a ? "primary" : ""} title=${a === "scet" ? "when it was on board" : "when it arrived"} onClick=${() => set({ axis: a, range: null })}>${a.toUpperCase()}</button>`)}</span>
      <label><input type="checkbox" checked=${marks} onChange=${(e) => setMarks(e.target.checked)} /> events</label>
      <${LayoutBar} /></div>
    <p class="dim">${stamp(from)} to ${stamp(to)} ${axis.toUpperCase()}${range ? " · fixed; a span above follows the newest" : " · follows the newest"} <span class="chrome">· drag across to zoom</span></p>
    ${names.map((name) => html`<${Chart} key=${name} name=${name} state=${state} marks=${marks} marked=${marked} height=${height} ends=${ends} setRange=${setRange}
      close=${names.length > 1 ? () => set({ names: names.filter((n) => n !== name) }) : null} />`)}</div>`;
}
