// The theme is shared with Locust's page and set before anything is drawn.
{
  const kept = localStorage.theme;
  const dark = kept ? kept === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}
