// A field above each table of models that hides the rows without what is typed: every word must be in a row.
document.querySelectorAll(".filtered").forEach((box) => {
  const rows = [...box.querySelectorAll("tbody tr")]
  const texts = rows.map((row) => row.textContent.toLowerCase())
  const field = document.createElement("input")
  const count = document.createElement("output")
  field.type = "search"
  field.placeholder = "vit_base 384"
  field.setAttribute("aria-label", "Show rows with these words")
  const show = () => {
    const words = field.value.toLowerCase().split(/\s+/)
    let shown = 0
    rows.forEach((row, at) => {
      const hit = words.every((word) => texts[at].includes(word))
      row.hidden = !hit
      shown += hit
    })
    count.textContent = `${shown} of ${rows.length}`
  }
  field.addEventListener("input", show)
  box.prepend(field, count)
  show()
})
