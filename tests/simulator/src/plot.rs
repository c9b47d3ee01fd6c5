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
const SIZE: (u32, u32) = (900, 500);
const LEGEND_HEIGHT: u32 = 105;
/// Characters of an incident's name that have room before the next one.
const LABEL_LENGTH: usize = 18;
const FONT: &str = "sans-serif";
const FONT_SIZE: u32 = 14;
const TEXT: RGBColor = RGBColor(50, 50, 50);
const FAINT: RGBColor = RGBColor(225, 225, 225);

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

/// Those on top come last.
const PENS: [Pen; 6] = [
    Pen::new(Kind::LastReport, RGBColor(213, 94, 0), 2),
    Pen::new(Kind::RoundRobin, RGBColor(140, 140, 140), 2),
    Pen::new(Kind::PowerOfTwo, RGBColor(204, 121, 167), 2),
    Pen::new(Kind::Omniscient, RGBColor(0, 158, 115), 2),
    Pen::new(Kind::Filter, RGBColor(0, 114, 178), 4),
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
    fs::write(file, drawing).with_context(|| format!("can't write {}", file.display()))
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'b, SVGBackend<'a>, Cartesian2d<RangedCoordf64, LogCoord<f64>>>;
type Painted<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn paint<'a>(canvas: &Canvas<'a>, scenario: &Scenario, traces: &[Vec<f64>]) -> Painted<'a> {
    canvas.fill(&WHITE)?;
    let until = scenario.duration.as_secs_f64();
    let mut chart = ChartBuilder::on(canvas)
        .margin(10)
        .margin_right(20)
        .margin_top(LEGEND_HEIGHT)
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
        .y_desc("fullest pod above the mean")
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
    draw_legend(canvas)
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
            let place = (0, -4 - up * 17);
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

/// The policies' names with pieces of their lines, in two rows.
fn draw_legend<'a>(canvas: &Canvas<'a>) -> Painted<'a> {
    let style = text(HPos::Left, VPos::Center);
    let places = (0..2).flat_map(|row| (0..3).map(move |column| (column, row)));
    for (pen, (column, row)) in PENS.iter().zip(places) {
        let (x, y) = (75 + column * 270, 20 + row * 24);
        let piece = vec![(x, y), (x + 30, y)];
        canvas.draw(&PathElement::new(piece, pen.color.stroke_width(pen.width)))?;
        canvas.draw(&Text::new(pen.kind.name(), (x + 38, y), style.clone()))?;
    }
    Ok(())
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
}
