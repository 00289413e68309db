//! The table as a picture: a panel for each measure, a bar for each contender, on logarithmic scales.

use std::fmt::Write as _;

use super::table::{Row, Table};

const COLUMNS: usize = 2;
const PANEL: f64 = 440.0;
const LABEL: f64 = 112.0;
const BAR: f64 = 230.0;
const LINE: f64 = 19.0;

/// Grey enough for any background, and lighter on a dark one.
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#555}.title{font-weight:600}\
    .name{text-anchor:end}.own{fill:#d97b29}.peer{fill:#7f9bb8}.limit{fill:#4c9f70}\
    .decade{stroke:#888;stroke-opacity:.25}@media(prefers-color-scheme:dark){text{fill:#bbb}}";

/// Draws the rows of these measures as SVG. `class` says what a contender is: `own`, a `peer` or a `limit`.
pub(crate) fn draw(table: &Table, measures: &[&str], class: fn(&str) -> &'static str) -> String {
    let rows: Vec<&Row> = measures.iter().filter_map(|name| table.row(name)).collect();
    let (mut panels, mut top) = (String::new(), 0.0);
    for line in rows.chunks(COLUMNS) {
        let mut bottom: f64 = top;
        for (column, row) in line.iter().enumerate() {
            let left = column as f64 * PANEL;
            let _ = write!(panels, "<g transform=\"translate({left} {top})\">");
            bottom = bottom.max(top + panel(&mut panels, table, row, class));
            panels += "</g>\n";
        }
        top = bottom;
    }
    let _ = write!(
        panels,
        "<text x=\"8\" y=\"{}\">The scales are logarithmic, with a line for each power of ten.</text>",
        top + 16.0
    );
    let (width, height) = (PANEL * COLUMNS as f64, top + 26.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\"><style>{STYLE}</style>\n{panels}</svg>\n"
    )
}

/// Returns its height.
fn panel(svg: &mut String, table: &Table, row: &Row, class: fn(&str) -> &'static str) -> f64 {
    let is_rate = row.unit.is_rate();
    let bars: Vec<(&str, f64)> = table
        .contenders()
        .filter_map(|name| Some((name, row.get(name)?.median)))
        .collect();
    let shown = |seconds: f64| if is_rate { 1.0 / seconds } else { seconds };
    let values = || bars.iter().map(|(_, seconds)| shown(*seconds));
    let least = values().fold(f64::INFINITY, f64::min) / 3.0;
    let most = values().fold(0.0, f64::max);
    let length = |value: f64| BAR * (value / least).ln() / (most / least).ln();

    let better = if is_rate { "longer" } else { "shorter" };
    let title = format!("{} ({better} is better)", row.measure);
    let _ = write!(svg, "<text class=\"title\" x=\"8\" y=\"18\">{title}</text>");
    let bottom = 28.0 + bars.len() as f64 * LINE;
    for power in least.log10().ceil() as i32..=most.log10().floor() as i32 {
        let x = LABEL + length(10_f64.powi(power));
        let _ = write!(svg, "<path class=\"decade\" d=\"M{x:.1} 26V{bottom}\"/>");
    }
    for (line, (name, seconds)) in bars.iter().enumerate() {
        let y = 28.0 + line as f64 * LINE;
        let (width, text) = (length(shown(*seconds)), row.unit.show(*seconds));
        let class = class(name);
        let _ = write!(
            svg,
            "<text class=\"name\" x=\"{}\" y=\"{}\">{name}</text><rect class=\"{class}\" x=\"{LABEL}\" \
             y=\"{y}\" width=\"{width:.1}\" height=\"{}\" rx=\"2\"/><text x=\"{:.1}\" y=\"{}\">{text}</text>",
            LABEL - 6.0,
            y + 12.0,
            LINE - 4.0,
            LABEL + width + 6.0,
            y + 12.0,
        );
    }
    bottom + 14.0
}
