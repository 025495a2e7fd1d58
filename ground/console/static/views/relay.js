// Bundles: what the site's node holds, for whom, how old; and the contact plan it follows.
import { api, clock, html, number, octets, span, stamp, useLoad } from "../lib.js";
import { block, bundles } from "../live.js";

function Tree({ value }) {
  if (Array.isArray(value)) return html`<table><tbody>${value.slice(0, 100).map((v) => html`<tr><td><${Tree} value=${v} /></td></tr>`)}</tbody></table>`;
  if (value !== null && typeof value === "object") return html`<table><tbody>${Object.entries(value).map(([k, v]) => html`<tr><td class="dim">${k}</td><td><${Tree} value=${v} /></td></tr>`)}</tbody></table>`;
  return html`<span class="mono">${number(value)}</span>`;
}

function List({ rows, label }) {
  if (!rows?.length) return html`<p class="dim">none</p>`;
  const columns = Object.keys(rows[0]).filter((c) => typeof rows[0][c] !== "object" || rows[0][c] === null);
  return html`<table aria-label=${label}><thead><tr>${columns.map((c) => html`<th>${c.replaceAll("_", " ")}</th>`)}</tr></thead><tbody>
    ${rows.slice(0, 200).map((r) => html`<tr>${columns.map((c) => html`<td class=${typeof r[c] === "number" ? "num" : ""}>${number(r[c] ?? "")}</td>`)}</tr>`)}</tbody></table>`;
}

const rows = (value, ...names) => (Array.isArray(value) ? value : names.map((n) => value?.[n]).find(Array.isArray) ?? []);

// The end of the way: how long each took from where it was made.
function Delivered() {
  return html`<section class="panel" aria-label="At their destination" tabindex="0" style="max-height:19rem"><h2>At their destination</h2>${bundles.value.length === 0 ? html`<p class="dim">none since the console began to listen</p>` : html`<table aria-label="Delivered"><thead><tr><th>from</th><th>to</th><th>made there, UTC</th><th>arrived, UTC</th><th>on its way</th><th>octets</th></tr></thead><tbody>
    ${bundles.value.slice().reverse().map((b) => html`<tr><td>${b.source}</td><td>${b.destination}</td><td class="num">${stamp(b.created)}</td><td class="num">${clock(b.arrived)}</td><td class="num">${b.created ? span(b.arrived - b.created) : "its source has no clock"}</td><td class="num">${octets(b.octets)}</td></tr>`)}</tbody></table>`}</section>`;
}

export function Relay() {
  const [status, error] = useLoad(() => api("GET", "/relay"), 2000);
  const [held] = useLoad(() => api("GET", "/relay/held"), 3000);
  const [contacts] = useLoad(() => api("GET", "/relay/contacts"), 10000);
  const board = block("RELAY").value;
  return html`${error && html`<p class="notice" role="alert">${error}</p>`}<div class="grid">
    ${board && html`<section class=${"panel" + (board.stale ? " stale" : "")} aria-label="On board"><h2>On board ${board.stale ? html`<span class="tag warning">STALE</span>` : ""}</h2>
      <table><tbody>${Object.entries(board.values).map(([n, [v, unit]]) => html`<tr><td>${n}</td><td class="num">${number(v)} ${unit}</td></tr>`)}</tbody></table></section>`}
    <section class="panel" aria-label="Node" tabindex="0" style="max-height:19rem"><h2>The site's node</h2><${Tree} value=${status} /></section></div>
    <section class="panel" aria-label="Held" tabindex="0" style="max-height:19rem"><h2>Bundles held here</h2><${List} rows=${rows(held, "held", "bundles")} label="Bundles held" /></section><${Delivered} />
    <section class="panel"><h2>Contact plan</h2><${List} rows=${rows(contacts, "contacts")} label="Contacts" /></section>`;
}
