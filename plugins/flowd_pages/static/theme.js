// Puts the remembered theme on the page before it is painted for the first time: the one script that is no module.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem('flowd.theme');
  } catch {
    // Storage may be forbidden; then the system decides.
  }
  if (theme === 'dark' || theme === 'light') document.documentElement.dataset.theme = theme;
})();
