//! The figures as bars.

use std::fmt::Write as _;

use super::report::{Measured, added};

const LABELS: f64 = 260.0;
const BARS: f64 = 560.0;
const ROW: f64 = 24.0;

/// An SVG with a bar for each scenario: what no filter costs in grey, what is added in blue.
pub(super) fn draw(all: &[Measured]) -> String {
    let shown: Vec<(&Measured, f64)> = all.iter().filter_map(|measured| Some((measured, measured.median()?))).collect();
    let most = shown.iter().map(|(_, median)| *median).fold(1.0, f64::max);
    let (width, height) = (LABELS + BARS + 80.0, ROW * (shown.len() as f64 + 2.0));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"8\" y=\"16\" font-weight=\"bold\">CPU of the proxy for each request, us (medians)</text>\n"
    );
    for (row, (measured, median)) in (1..).zip(&shown) {
        let added = added(all, measured).unwrap_or(0.0).max(0.0);
        let scale = |us: f64| us / most * BARS;
        let (y, bare) = (f64::from(row) * ROW + 4.0, scale(median - added));
        // Writing to a String does not fail.
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LABELS}\" y=\"{y:.1}\" width=\"{bare:.1}\" height=\"16\" fill=\"#b8bec6\"/>\
             <rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"16\" fill=\"#2f6fb3\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{median:.1}</text>",
            LABELS - 8.0,
            y + 12.0,
            measured.name,
            LABELS + bare,
            scale(added),
            LABELS + scale(*median) + 6.0,
            y + 12.0,
        );
    }
    svg + "</svg>\n"
}
