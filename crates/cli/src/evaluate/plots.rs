//! Figures as drawings: SVG that stands inside a page and takes its colours from it.

use api::v1::CalibrationBin;

use super::text::number;

const BAR_HEIGHT: usize = 20;
const NAME_WIDTH: f64 = 240.0;
const PLOT_WIDTH: f64 = 460.0;
const VALUE_WIDTH: f64 = 150.0;
const MARGIN: f64 = 26.0;
const SQUARE: f64 = 260.0;

/// One bar.
pub(crate) struct Bar {
    pub(crate) name: String,
    /// Where the name leads to, as an anchor of the page.
    pub(crate) anchor: String,
    pub(crate) value: f64,
    pub(crate) interval: Option<(f64, f64)>,
    /// A line across the bar, such as what one answer to everything reaches.
    pub(crate) mark: Option<f64>,
}

/// Bars from 0 to 1, further left where a value is negative, with their intervals as whiskers.
pub(crate) fn bars(title: &str, bars: &[Bar]) -> String {
    let lowest = bars.iter().flat_map(|bar| [Some(bar.value), bar.interval.map(|(low, _)| low)]).flatten();
    let least = lowest.fold(0.0_f64, f64::min).max(-1.0);
    let x = |value: f64| NAME_WIDTH + (value.clamp(least, 1.0) - least) / (1.0 - least) * PLOT_WIDTH;
    let height = bars.len() * BAR_HEIGHT + MARGIN as usize;
    let width = NAME_WIDTH + PLOT_WIDTH + VALUE_WIDTH;
    let mut svg = vec![format!(
        "<svg class=\"bars\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">",
        escaped(title)
    )];
    for tenth in 0..=5 {
        let (share, bottom) = (f64::from(tenth) / 5.0, height as f64 - MARGIN);
        let at = x(share);
        svg.push(format!("<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"0\" y2=\"{bottom}\"/>"));
        svg.push(format!(
            "<text class=\"tick\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{share:.1}</text>",
            bottom + 16.0
        ));
    }
    for (place, bar) in bars.iter().enumerate() {
        let top = (place * BAR_HEIGHT) as f64;
        let middle = top + BAR_HEIGHT as f64 / 2.0;
        let (from, to) = (x(bar.value.min(0.0)), x(bar.value.max(0.0)));
        svg.push(format!(
            "<a href=\"#{}\"><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text></a>",
            escaped(&bar.anchor),
            NAME_WIDTH - 8.0,
            middle + 4.0,
            escaped(&bar.name)
        ));
        svg.push(format!(
            "<rect class=\"bar\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\"/>",
            top + 3.0,
            (to - from).max(0.5),
            BAR_HEIGHT - 6
        ));
        svg.extend(bar.mark.map(|mark| {
            format!(
                "<line class=\"mark\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{1}\" y2=\"{2}\"/>",
                x(mark),
                top + 2.0,
                top + 18.0
            )
        }));
        if let Some((low, high)) = bar.interval {
            let (low, high) = (x(low), x(high));
            svg.push(format!(
                "<path class=\"whisker\" d=\"M{low:.1} {0}V{1}M{low:.1} {middle}H{high:.1}M{high:.1} {0}V{1}\"/>",
                middle - 4.0,
                middle + 4.0
            ));
        }
        let range =
            bar.interval.map_or_else(String::new, |(low, high)| format!(" ({} to {})", number(low), number(high)));
        svg.push(format!(
            "<text x=\"{}\" y=\"{:.1}\">{}{range}</text>",
            NAME_WIDTH + PLOT_WIDTH + 8.0,
            middle + 4.0,
            number(bar.value)
        ));
    }
    svg.push("</svg>".to_owned());
    svg.concat()
}

/// A reliability curve: mean probability across, accuracy up, circles as large as their bins are full. On the diagonal
/// probabilities mean what they say.
pub(crate) fn calibration(bins: &[CalibrationBin]) -> String {
    let (x, y) = (|share: f64| MARGIN + share * SQUARE, |share: f64| 8.0 + (1.0 - share) * SQUARE);
    let (width, height) = (SQUARE + MARGIN + 12.0, SQUARE + MARGIN + 22.0);
    let filled: Vec<&CalibrationBin> = bins.iter().filter(|bin| bin.answers > 0).collect();
    let most = filled.iter().map(|bin| bin.answers).max().unwrap_or(1) as f64;
    let mut svg = vec![format!(
        "<svg class=\"calibration\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"calibration\">"
    )];
    svg.push(format!(
        "<rect class=\"frame\" x=\"{}\" y=\"{}\" width=\"{SQUARE}\" height=\"{SQUARE}\"/>",
        x(0.0),
        y(1.0)
    ));
    svg.push(format!("<line class=\"grid\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>", x(0.0), y(0.0), x(1.0), y(1.0)));
    for share in [0.0, 0.5, 1.0] {
        svg.push(format!(
            "<text class=\"tick\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{share}</text>",
            x(share),
            y(0.0) + 14.0
        ));
        svg.push(format!(
            "<text class=\"tick\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{share}</text>",
            x(0.0) - 4.0,
            y(share) + 4.0
        ));
    }
    svg.push(format!(
        "<text class=\"tick\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">probability (up: share that is right)</text>",
        x(0.5),
        y(0.0) + 28.0
    ));
    let points: Vec<String> =
        filled.iter().map(|bin| format!("{:.1},{:.1}", x(bin.mean_score), y(bin.accuracy))).collect();
    svg.push(format!("<polyline class=\"curve\" points=\"{}\"/>", points.join(" ")));
    for bin in filled {
        let radius = 2.0 + 7.0 * (bin.answers as f64 / most).sqrt();
        let tip =
            format!("{} answers at {} on average: {} right", bin.answers, number(bin.mean_score), number(bin.accuracy));
        svg.push(format!(
            "<circle class=\"bin\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\"><title>{tip}</title></circle>",
            x(bin.mean_score),
            y(bin.accuracy)
        ));
    }
    svg.push("</svg>".to_owned());
    svg.concat()
}

/// Text as it may stand in a page, attributes included.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            control if control.is_control() => safe.push(' '),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(value: f64, interval: Option<(f64, f64)>) -> Bar {
        Bar { name: "<b>".to_owned(), anchor: "t1".to_owned(), value, interval, mark: None }
    }

    #[test]
    fn a_bar_is_as_long_as_its_value() {
        let svg = bars("all", &[bar(0.5, Some((0.25, 0.75)))]);
        let half = format!("x=\"{NAME_WIDTH:.1}\" y=\"3.0\" width=\"{:.1}\"", PLOT_WIDTH / 2.0);
        assert!(svg.contains(&half), "{svg}");
        let whisker = format!("M{:.1} 6", NAME_WIDTH + PLOT_WIDTH / 4.0);
        assert!(svg.contains(&whisker) && svg.contains("0.500 (0.250 to 0.750)"), "{svg}");
        assert!(svg.contains("&lt;b&gt;") && !svg.contains("<b>"), "{svg}");
    }

    #[test]
    fn a_negative_value_goes_the_other_way_and_stays_inside() {
        let svg = bars("all", &[bar(-0.5, None), bar(-7.0, None)]);
        assert!(svg.contains(&format!("x=\"{NAME_WIDTH:.1}\"")), "{svg}");
        assert!(
            svg.contains(&format!(
                "x=\"{:.1}\" y=\"3.0\" width=\"{:.1}\"",
                NAME_WIDTH + PLOT_WIDTH / 4.0,
                PLOT_WIDTH / 4.0
            )),
            "{svg}"
        );
    }

    #[test]
    fn empty_bins_draw_nothing_and_full_ones_a_circle_each() {
        let bin = |answers, mean_score, accuracy| CalibrationBin { low: 0.0, high: 1.0, answers, mean_score, accuracy };
        let svg = calibration(&[bin(0, 0.0, 0.0), bin(4, 0.5, 0.25), bin(9, 0.9, 1.0)]);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains(&format!("{:.1},{:.1}", MARGIN + SQUARE / 2.0, 8.0 + SQUARE * 0.75)), "{svg}");
    }
}
