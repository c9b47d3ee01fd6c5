//! Draws how the pods even out while one thing after the other happens to them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::parallel;
use crate::policy::Kind;
use crate::record::TRACE_STEP;
use crate::scenario::Scenario;
use crate::simulation::play;
use crate::trials;

/// Width and height, in pixels of a page on which it is not scaled.
const SIZE: (u32, u32) = (900, 480);
/// Room for the incidents' names above the lines, and for the policies' names behind their ends.
const ABOVE: u32 = 72;
const BEHIND: u32 = 175;
/// Characters of an incident's name that have room before the next one.
const LABEL_LENGTH: usize = 18;
const FONT: &str = "sans-serif";
const FONT_SIZE: u32 = 14;
const LINE_HEIGHT: i32 = 17;
const BACK: RGBColor = WHITE;
const TEXT: RGBColor = RGBColor(50, 50, 50);
const FAINT: RGBColor = RGBColor(225, 225, 225);

/// What the colours are for readers who prefer dark pages: all that can't be seen there.
const IN_THE_DARK: [(RGBColor, RGBColor); 4] = [
    (BACK, RGBColor(17, 21, 27)),
    (TEXT, RGBColor(205, 212, 222)),
    (FAINT, RGBColor(43, 52, 65)),
    (FILTER, RGBColor(86, 180, 233)),
];

/// By how much the fullest pod exceeds the mean, in percent: what is drawn.
const LEAST: f64 = 0.1;
const MOST: f64 = 200.0;

/// What is before this is not drawn: the gateways have just started.
const FROM: f64 = 30.0;

/// How one policy's line looks. The colours are Okabe and Ito's, which most colour-blind people
/// tell apart.
struct Pen {
    kind: Kind,
    color: RGBColor,
    width: u32,
}

const FILTER: RGBColor = RGBColor(0, 114, 178);

/// Those on top come last.
const PENS: [Pen; 6] = [
    Pen::new(Kind::LastReport, RGBColor(213, 94, 0), 2),
    Pen::new(Kind::RoundRobin, RGBColor(140, 140, 140), 2),
    Pen::new(Kind::PowerOfTwo, RGBColor(204, 121, 167), 2),
    Pen::new(Kind::Omniscient, RGBColor(0, 158, 115), 2),
    Pen::new(Kind::Filter, FILTER, 4),
    Pen::new(Kind::LeastOwn, RGBColor(230, 159, 0), 2),
];

impl Pen {
    const fn new(kind: Kind, color: RGBColor, width: u32) -> Self {
        Self { kind, color, width }
    }
}

/// Writes the drawing, an SVG, into `file`.
///
/// # Errors
/// Where the file can't be written.
pub fn draw(file: &Path, seed: u64) -> Result<()> {
    let scenario = trials::eventful(seed);
    let traces = parallel::map(&PENS, |pen| play(&scenario, pen.kind).trace);
    let mut drawing = String::new();
    let canvas = SVGBackend::with_string(&mut drawing, SIZE).into_drawing_area();
    paint(&canvas, &scenario, &traces).map_err(|error| anyhow!("{error}"))?;
    drop(canvas);
    fs::write(file, for_light_and_dark(&drawing))
        .with_context(|| format!("can't write {}", file.display()))
}

/// The drawing with a style for dark pages, whose rules go before the colours in the elements.
fn for_light_and_dark(drawing: &str) -> String {
    let hex = |RGBColor(red, green, blue)| format!("#{red:02X}{green:02X}{blue:02X}");
    let rules = IN_THE_DARK.map(|(light, dark)| {
        let (light, dark) = (hex(light), hex(dark));
        format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}\n")
    });
    let style = format!(
        "<style>@media (prefers-color-scheme: dark) {{\n{}}}</style>\n",
        rules.concat()
    );
    let head = drawing.find('\n').map_or(0, |end| end + 1);
    let (head, rest) = drawing.split_at(head);
    [head, &style, rest].concat()
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'b, SVGBackend<'a>, Cartesian2d<RangedCoordf64, LogCoord<f64>>>;
type Painted<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn paint<'a>(canvas: &Canvas<'a>, scenario: &Scenario, traces: &[Vec<f64>]) -> Painted<'a> {
    canvas.fill(&BACK)?;
    let until = scenario.duration.as_secs_f64();
    let mut chart = ChartBuilder::on(canvas)
        .margin(10)
        .margin_right(BEHIND)
        .margin_top(ABOVE)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(FROM..until, (LEAST..MOST).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .axis_style(TEXT)
        .label_style((FONT, FONT_SIZE).into_font().color(&TEXT))
        .x_desc("seconds")
        .y_desc("how far the fullest pod is above the mean")
        .x_label_formatter(&|seconds| format!("{seconds:.0}"))
        .y_label_formatter(&|percent| format!("{percent} %"))
        .draw()?;
    for (pen, trace) in PENS.iter().zip(traces) {
        let points = (0..).zip(trace).map(|(step, &imbalance)| {
            let seconds = (TRACE_STEP * step).as_secs_f64();
            (seconds, ((imbalance - 1.0) * 100.0).max(LEAST))
        });
        let drawn = points.filter(|&(seconds, _)| seconds >= FROM);
        chart.draw_series(LineSeries::new(drawn, pen.color.stroke_width(pen.width)))?;
    }
    name_incidents(&mut chart, scenario)?;
    let ends = traces.iter().map(|trace| {
        let percent = trace.last().map_or(LEAST, |last| (last - 1.0) * 100.0);
        chart.backend_coord(&(until, percent.max(LEAST)))
    });
    name_policies(canvas, &ends.collect::<Vec<_>>())
}

/// A vertical line for each incident, with its name above.
fn name_incidents<'a>(chart: &mut Chart<'a, '_>, scenario: &Scenario) -> Painted<'a> {
    let style = text(HPos::Left, VPos::Bottom);
    for (elapsed, incident) in &scenario.incidents {
        let seconds = elapsed.as_secs_f64();
        let line = [(seconds, LEAST), (seconds, MOST)];
        chart.draw_series(DashedLineSeries::new(line, 4, 4, TEXT.into()))?;
        let lines = wrap(&incident.to_string(), LABEL_LENGTH);
        for (line, up) in lines.into_iter().rev().zip(0..) {
            let place = (0, -4 - up * LINE_HEIGHT);
            let name = EmptyElement::at((seconds, MOST)) + Text::new(line, place, style.clone());
            chart.draw_series([name])?;
        }
    }
    Ok(())
}

/// Breaks a text into lines of no more than so many characters, if no word is longer.
fn wrap(text: &str, longest: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= longest => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The policies' names behind the ends of their lines, each tied to its end.
fn name_policies<'a>(canvas: &Canvas<'a>, ends: &[(i32, i32)]) -> Painted<'a> {
    const TIE: i32 = 18;
    let style = text(HPos::Left, VPos::Center);
    let heights: Vec<i32> = ends.iter().map(|&(_, y)| y).collect();
    for ((pen, &(x, y)), place) in PENS.iter().zip(ends).zip(apart(&heights)) {
        let tie = vec![(x, y), (x + TIE, place)];
        canvas.draw(&PathElement::new(tie, pen.color.stroke_width(pen.width)))?;
        let name = Text::new(pen.kind.name(), (x + TIE + 4, place), style.clone());
        canvas.draw(&name)?;
    }
    Ok(())
}

/// Where the middle of each name stands: no two of them cover each other, and each is as near to its
/// height as those above it leave it; the lowest stay where they are.
fn apart(heights: &[i32]) -> Vec<i32> {
    let mut order: Vec<usize> = (0..heights.len()).collect();
    order.sort_by_key(|&index| heights[index]);
    let mut places = heights.to_vec();
    let mut limit = i32::MAX;
    for &index in order.iter().rev() {
        places[index] = places[index].min(limit);
        limit = places[index] - LINE_HEIGHT;
    }
    places
}

fn text(horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    let style = (FONT, FONT_SIZE).into_font().color(&TEXT);
    style.pos(Pos::new(horizontal, vertical))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("a pod is lost", 18), ["a pod is lost"]);
        let broken = wrap("half of the pods drop all", 18);
        assert_eq!(broken, ["half of the pods", "drop all"]);
        assert_eq!(wrap("unbreakable word", 4), ["unbreakable", "word"]);
    }
    #[test]
    fn names_do_not_cover_each_other() {
        assert_eq!(apart(&[100, 200]), [100, 200]);
        // In the order of their lines, and not of their pens.
        assert_eq!(apart(&[210, 200, 205, 400]), [210, 176, 193, 400]);
        assert_eq!(apart(&[200, 200]), [183, 200]);
    }

    #[test]
    fn dark_pages_have_colours_of_their_own() {
        let drawing = for_light_and_dark("<svg>\n<rect fill=\"#FFFFFF\"/>\n</svg>\n");
        let (style, rest) = drawing.split_once("</style>\n").expect("a style");
        assert!(style.starts_with("<svg>\n<style>@media (prefers-color-scheme: dark) {\n"));
        assert!(
            style.contains("[fill=\"#FFFFFF\"]{fill:#11151B}"),
            "{style}"
        );
        assert_eq!(rest, "<rect fill=\"#FFFFFF\"/>\n</svg>\n");
    }
}
