// Sets the theme before the first paint, so that a dark page never flashes white. Not a module: modules run later.
try {
  const theme = JSON.parse(localStorage.getItem('natter.theme'))
  if (theme) document.documentElement.dataset.theme = theme
} catch {
  // No storage: the system's theme.
}
