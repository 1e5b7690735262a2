//! The picture: processor time per request of each proxy, its median as a bar, least and most as a line.

use std::fmt::Write as _;

use serde_json::Value;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 34.0;
const TOP: f64 = 64.0;

/// Draws it; an empty one without proxies.
pub(super) fn draw(proxies: &[Value]) -> String {
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = rows(&mut svg, proxies);
    svg
}

fn rows(svg: &mut String, proxies: &[Value]) -> std::fmt::Result {
    let spread = |proxy: &Value| {
        let rounds = proxy["cpuUsRounds"].as_array().cloned().unwrap_or_default();
        let values: Vec<f64> = rounds.iter().filter_map(Value::as_f64).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        (least, values.iter().copied().fold(0.0, f64::max))
    };
    let most = proxies.iter().map(|proxy| spread(proxy).1).fold(1.0, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / most;
    #[expect(clippy::cast_precision_loss, reason = "a handful of rows")]
    let height = TOP + ROW * proxies.len() as f64 + 16.0;
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Processor time per request\" font-family=\"system-ui, sans-serif\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"28\" font-size=\"17\" font-weight=\"600\" fill=\"#1c1c1c\">Processor time per request</text>\n\
         <text x=\"16\" y=\"48\" fill=\"#5a5a5a\">microseconds, HTTP/1.1, one worker; median of all rounds, line from least to most</text>"
    )?;
    let mut y = TOP;
    for proxy in proxies {
        let name = proxy["name"].as_str().unwrap_or_default();
        let value = proxy["cpuUs"].as_f64().unwrap_or_default();
        let (least, greatest) = spread(proxy);
        let colour = if name.starts_with("tamis") { "#0b6e4f" } else { "#9aa5b1" };
        let (middle, width) = (y + ROW / 2.0, value * scale);
        writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#1c1c1c\">{}</text>\n\
             <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"20\" fill=\"{colour}\"/>\n\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"#1c1c1c\" stroke-width=\"1.5\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#1c1c1c\">{value:.1}</text>",
            LEFT - 10.0,
            middle + 5.0,
            escape(name),
            middle - 10.0,
            LEFT + least.min(greatest) * scale,
            LEFT + greatest * scale,
            LEFT + greatest.max(value) * scale + 8.0,
            middle + 5.0,
        )?;
        y += ROW;
    }
    writeln!(svg, "</svg>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bar_for_each_proxy_within_the_picture() {
        let proxies = [
            json!({ "name": "tamis <five>", "cpuUs": 20.0, "cpuUsRounds": [19.0, 20.0, 25.0] }),
            json!({ "name": "envoy", "cpuUs": 80.0, "cpuUsRounds": [80.0] }),
        ];
        let svg = draw(&proxies);
        assert_eq!(svg.matches("height=\"20\"").count(), 2);
        assert!(svg.contains("tamis &lt;five>") && svg.contains("width=\"420.0\""), "{svg}");
        assert!(draw(&[]).ends_with("</svg>\n"));
    }
}
