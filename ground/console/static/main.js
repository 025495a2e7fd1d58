// The page: sign-in, navigation, palette, and one view at a time.
import { api, attempt, clock, computed, effect, html, notice, render, route, session, signal, silent, span, toWall, useEffect, useLoad, useState, wall } from "./lib.js";
import { again, alarms, begin, connected, deaf, end, lost, now, services } from "./live.js";
import { ClockStrip } from "./views/clocks.js";
import { Now } from "./views/now.js";
import { Telemetry } from "./views/telemetry.js";
import { Plots } from "./views/plots.js";
import { Alarms, tone } from "./views/alarms.js";
import { Events } from "./views/events.js";
import { Commands } from "./views/commands.js";
import { Procedures } from "./views/procedures.js";
import { Passes } from "./views/passes.js";
import { Relay } from "./views/relay.js";
import { Link } from "./views/link.js";
import { Files } from "./views/files.js";
import { Packets } from "./views/packets.js";
import { Health } from "./views/health.js";
import { Audit, People } from "./views/people.js";
import { OpenLayout } from "./views/layouts.js";
import { Palette } from "./palette.js";

const VIEWS = [
  ["now", "Now", Now], ["telemetry", "Telemetry", Telemetry], ["plots", "Plots", Plots],
  ["alarms", "Alarms", Alarms], ["events", "Events", Events], ["commands", "Commands", Commands],
  ["procedures", "Procedures", Procedures], ["passes", "Passes", Passes], ["relay", "Relay", Relay],
  ["link", "Link", Link], ["packets", "Packets", Packets], ["files", "Files", Files], ["health", "Health", Health],
  ["people", "People", People, "admin"], ["audit", "Audit", Audit, "admin"],
];
const palette = signal(false);
const theme = signal(localStorage.getItem("theme") ?? "dark");
effect(() => {
  document.documentElement.dataset.theme = theme.value;
  localStorage.setItem("theme", theme.value);
});
effect(() => { if (wall.value) document.documentElement.dataset.wall = "1"; else delete document.documentElement.dataset.wall; });

addEventListener("keydown", (key) => {
  if ((key.ctrlKey || key.metaKey) && key.key === "k") {
    key.preventDefault();
    palette.value = !palette.value;
  } else if (key.key === "Escape") palette.value = false;
});

function Entry({ setup }) {
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [provider] = useLoad(() => api("GET", "/oidc"), 0);
  const enter = async (event) => {
    event.preventDefault();
    await attempt(async () => {
      if (setup) await api("POST", "/setup", { token: setup, name, password });
      await api("POST", "/session", { name, password });
      if (setup) history.replaceState(null, "", "/");
      await load();
    });
  };
  return html`<main class="entry"><form onSubmit=${enter} aria-labelledby="title">
    <h1 id="title">L4 Relay Ground</h1>
    <p>${setup ? "Nobody can sign in yet. You become the administrator." : "Sign in to the console."}</p>
    <label>Name <input autocomplete="username" required maxlength="64" value=${name} onInput=${(e) => setName(e.target.value)} autofocus /></label>
    <label>Password <input type="password" required minlength="10" autocomplete=${setup ? "new-password" : "current-password"}
      value=${password} onInput=${(e) => setPassword(e.target.value)} /></label>
    ${setup && html`<p class="dim">At least ten characters.</p>`}
    <button class="primary" type="submit">${setup ? "Set up" : "Sign in"}</button>
    ${!setup && provider?.label && html`<p><a href="/api/v1/oidc/begin">Sign in with ${provider.label}</a></p>`}
    ${notice.value && html`<p role="alert" class="bad">${notice.value.text}</p>`}
  </form></main>`;
}

async function signOut() {
  await attempt(() => api("DELETE", "/session"));
  end();
  session.value = null;
}

// Signals of their own: the page is not drawn again each time that the clock or a value changes.
const where = computed(() => route.value.split("/"));
const rest = computed(() => where.value.slice(1));
const loudly = computed(() => alarms.value.filter((a) => a.state === "unacknowledged").length);
const silently = computed(() => (session.value ? Object.values(services.value).filter((s) => silent(s, now.value)).length : 0));
// In whatever view, and beside other tabs: how many, and whether it is still true.
effect(() => tone(loudly.value));
effect(() => { document.title = `${!session.value || (connected.value && !deaf.value) ? "" : "OLD · "}${session.value && loudly.value ? `(${loudly.value}) ` : ""}L4 Relay Ground`; });

// Beside the header: what is lost, or was, and for how long.
function Connection() {
  const away = lost.value, back = again.value;
  // The rest of the line changes each second, and is not told again.
  if (!connected.value) return html`<strong class="tag critical"><span role="alert">NO CONNECTION: WHAT YOU SEE IS OLD</span>
    ${away && html`<span aria-hidden="true">, of ${clock(away.shown)}, ${now.value && span(Date.now() - away.since)} ago</span>`}</strong>`;
  if (deaf.value) return html`<strong class="tag critical" role="alert">${deaf.value}</strong>`;
  return back && html`<span class="tag warning" role="status">connected again after ${span(back.after)}
    <button class="small" aria-label="Seen" onClick=${() => (again.value = null)}>×</button></span>`;
}

function Shell() {
  const name = where.value[0], loud = loudly.value, silent = silently.value;
  const found = name === "layout" ? ["layout", "Layout", OpenLayout] : VIEWS.find(([id]) => id === name) ?? VIEWS[0];
  const View = found[2];
  const shown = VIEWS.filter(([, , , role]) => !role || session.value.role === role);
  return html`<div class="shell">
    <a class="skip" href="#main" onClick=${(e) => { e.preventDefault(); document.getElementById("main").focus(); }}>To the view</a>
    <header><${ClockStrip} />
      <div class="who">
        <${Connection} />
        ${wall.value && loud > 0 && html`<strong class="tag critical">${loud} ALARM${loud > 1 ? "S" : ""}</strong>`}
        <button class="chrome" onClick=${() => (palette.value = true)} title="Ctrl K">Commands… <kbd>Ctrl K</kbd></button>
        <button class="chrome" onClick=${() => (theme.value = theme.value === "dark" ? "light" : "dark")} aria-label="Dark or light">${theme.value === "dark" ? "☀" : "☾"}</button>
        <span class="chrome">${session.value.name} <span class="dim">${session.value.role}</span></span>
        <button class="chrome" onClick=${signOut}>Sign out</button>
      </div></header>
    <nav class="chrome" aria-label="Views">${shown.map(([id, label]) => html`<a href=${"#" + id} aria-current=${id === found[0] ? "page" : null}>
      ${label}${id === "alarms" && loud > 0 && html` <span class="badge critical">${loud}</span>`}
      ${id === "health" && silent > 0 && html` <span class="badge warning">${silent}</span>`}</a>`)}</nav>
    ${/* Made anew for each view: it begins at its top. */ ""}<main id="main" class=${connected.value && !deaf.value ? "" : "old"} key=${found[0]} tabindex="-1" aria-label=${found[1]}>
      ${notice.value && html`<div class="notice" role="alert">${notice.value.text}
        <button onClick=${() => (notice.value = null)} aria-label="Close">×</button></div>`}
      <${View} rest=${rest.value} key=${found[0]} /></main>
    ${palette.value && html`<${Palette} views=${shown} close=${() => (palette.value = false)}
      theme=${() => (theme.value = theme.value === "dark" ? "light" : "dark")} wall=${() => toWall(!wall.value)} signOut=${signOut} />`}
  </div>`;
}

function App() {
  const [loading, setLoading] = useState(true);
  useEffect(() => { load().finally(() => setLoading(false)); }, []);
  if (loading) return html`<p class="dim entry">…</p>`;
  const setup = location.pathname === "/setup" ? location.hash.slice(1) : "";
  return session.value ? html`<${Shell} />` : html`<${Entry} setup=${setup} />`;
}

async function load() {
  try {
    session.value = await api("GET", "/session");
    begin();
  } catch (error) {
    if (error.status !== 401) notice.value = { text: error.message };
  }
}

render(html`<${App} />`, document.getElementById("app"));
