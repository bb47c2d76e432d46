//! The rates of a report as bars, on a logarithmic axis, in SVG.

use std::fmt::Write as _;

use super::report::{Case, Report, Unit, shown};

const WIDTH: u32 = 960;
const LABEL: u32 = 130;
const BARS: u32 = 700;
const ROW: u32 = 20;
const HEAD: u32 = 34;
/// The left end of the axis, as a power of ten.
const LEAST: f64 = 1.0;
/// Its right end.
const MOST: f64 = 6.0;

/// Draws every case that compares rates with peers.
pub(crate) fn svg(report: &Report) -> String {
    let cases: Vec<&Case> =
        report.cases.iter().filter(|case| case.unit == Unit::PerSecond && !case.peers.is_empty()).collect();
    let rows: u32 = cases.iter().map(|case| HEAD + ROW * bars(case).len() as u32).sum();
    let height = rows + 40;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for power in LEAST as u32..=MOST as u32 {
        let x = LABEL + length(10_f64.powi(power as i32));
        let _ = writeln!(svg, "<line x1=\"{x}\" y1=\"8\" x2=\"{x}\" y2=\"{rows}\" stroke=\"#dddddd\"/>");
        let label = 10_u64.pow(power);
        let y = rows + 20;
        let _ =
            writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" fill=\"#555555\">{label}</text>");
    }
    let mut y = 0;
    for case in cases {
        let title = y + HEAD - 10;
        let _ = writeln!(
            svg,
            "<text x=\"4\" y=\"{title}\" font-weight=\"bold\">{}, jobs/s</text>",
            escaped(&case.name)
        );
        y += HEAD;
        for (name, rate, color) in bars(case) {
            let (text, end, width) = (y + 14, LABEL + length(rate) + 6, length(rate));
            let left = LABEL - 6;
            let _ = writeln!(
                svg,
                "<text x=\"{left}\" y=\"{text}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{LABEL}\" y=\"{}\" width=\"{width}\" height=\"14\" fill=\"{color}\"/>\
                 <text x=\"{end}\" y=\"{text}\">{}</text>",
                escaped(name),
                y + 3,
                shown(rate)
            );
            y += ROW;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Ours, the raw law, then the peers from fast to slow.
fn bars(case: &Case) -> Vec<(&str, f64, &'static str)> {
    let mut bars = vec![("taskport", case.ours, "#1f6feb")];
    bars.extend(case.raw.map(|raw| ("raw law", raw, "#999999")));
    let mut peers: Vec<_> = case.peers.iter().map(|(name, rate)| (name.as_str(), *rate, "#d29922")).collect();
    peers.sort_by(|a, b| b.1.total_cmp(&a.1));
    bars.extend(peers);
    bars
}

fn length(rate: f64) -> u32 {
    let share = (rate.max(1.0).log10() - LEAST) / (MOST - LEAST);
    (share.clamp(0.0, 1.0) * f64::from(BARS)).round() as u32
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_ten_times_higher_is_a_decade_longer() {
        assert_eq!(length(10.0), 0);
        assert_eq!(length(1_000.0) - length(100.0), length(100.0));
        assert_eq!(length(1e9), BARS);
    }
}
