// Runs before the first paint: sets the theme, so that a dark page never flashes white, and says which of the two beginnings of the page
// is seen until the rest has run. Not a module: modules run later.
try {
  const theme = JSON.parse(localStorage.getItem('natter.theme'))
  if (theme) document.documentElement.dataset.theme = theme
  if (!localStorage.getItem('natter.session')) document.documentElement.dataset.view = 'signin'
} catch {
  // No storage: the system's theme.
}
