// Pictures that lie in sheets, one below the other: see inspection/sheets.py.

const KEPT = 12; // decoded sheets; one of 16 screens takes 4 MB
const AHEAD = 2; // sheets that are asked for before they are needed

export class Strip {
  // layout: width, height, per_sheet, sheets; source(number) gives the address of a sheet.
  constructor(layout, source) {
    this.layout = layout;
    this.source = source;
    this.sheets = new Map();
  }

  // Draws a picture and the sheet's neighbours come too. False: it is not there yet, and `later` is called when it is.
  draw(context, index, box, later) {
    const { width, height, per_sheet } = this.layout;
    const sheet = Math.floor(index / per_sheet);
    const image = this.ask(sheet, later);
    for (let next = sheet + 1; next <= Math.min(sheet + AHEAD, this.layout.sheets - 1); next += 1) this.ask(next, null);
    if (!image) return false;
    context.imageSmoothingEnabled = false;
    context.drawImage(image, 0, (index % per_sheet) * height, width, height, ...box);
    return true;
  }

  ready(index) {
    return Boolean(this.sheets.get(Math.floor(index / this.layout.per_sheet))?.image);
  }

  ask(number, later) {
    let entry = this.sheets.get(number);
    if (entry) this.sheets.delete(number); // the newest is last
    else entry = this.load(number);
    this.sheets.set(number, entry);
    for (const old of this.sheets.keys()) {
      if (this.sheets.size <= KEPT) break;
      this.sheets.delete(old);
    }
    if (!entry.image && later) entry.waiting.add(later);
    return entry.image;
  }

  load(number) {
    const entry = { image: null, waiting: new Set() };
    const image = new Image();
    image.src = this.source(number);
    image.decode().then(
      () => {
        entry.image = image;
        for (const later of entry.waiting) later();
        entry.waiting.clear();
      },
      () => this.sheets.delete(number), // asked for again when it is wanted again
    );
    return entry;
  }
}
