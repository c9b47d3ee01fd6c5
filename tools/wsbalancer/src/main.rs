//! The program: arguments in, text out, and an exit code.
//!
//! Standard output carries the result and nothing else; remarks go to standard error.

mod arguments;
mod bar;
mod load;
mod pods;
mod signals;
mod terminal;
mod watch;

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::{CommandFactory, Parser};
use serde_json::{Value, json};
use wsbalancer_cli::check::{self, Refusal};
use wsbalancer_cli::doctor;
use wsbalancer_cli::render::{self, Short, Target};

use crate::arguments::{
    Arguments, CheckArguments, Command, DoctorArguments, For, Format, RenderArguments,
};

/// Nothing to complain of.
const FINE: u8 = 0;
/// Something is wrong with what was looked at.
const WRONG: u8 = 1;
/// It could not be looked at; also the code of bad usage.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let code = run(Arguments::parse().command).unwrap_or_else(|error| {
        eprintln!("wsbalancer: {error:#}");
        FAILED
    });
    ExitCode::from(code)
}

fn run(command: Command) -> Result<u8> {
    match command {
        Command::Check(arguments) => Ok(check(&arguments)),
        Command::Render(arguments) => render(&arguments),
        Command::Doctor(arguments) => doctor(&arguments),
        Command::Watch(arguments) => wait_for(watch::run(&arguments)).map(|()| FINE),
        Command::Load(arguments) => {
            let is_fine = wait_for(load::run(&arguments))?;
            Ok(if is_fine { FINE } else { WRONG })
        }
        Command::Pods(arguments) => wait_for(pods::run(*arguments)).map(|()| FINE),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Arguments::command(),
                "wsbalancer",
                &mut io::stdout(),
            );
            Ok(FINE)
        }
        Command::Man => {
            man(&mut io::stdout().lock())?;
            Ok(FINE)
        }
    }
}

/// Runs what has many connections at a time.
fn wait_for<T>(doing: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Runtime::new()?.block_on(doing)
}

/// One page for the tool and all of its commands.
fn man(out: &mut impl Write) -> io::Result<()> {
    let mut command = Arguments::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(out)?;
    for subcommand in command.get_subcommands() {
        if subcommand.get_name() == "help" {
            continue;
        }
        let name = format!("wsbalancer {}", subcommand.get_name());
        let page = clap_mangen::Man::new(subcommand.clone());
        writeln!(out, ".SH {}", name.to_uppercase())?;
        page.render_description_section(out)?;
        page.render_options_section(out)?;
        if subcommand.get_after_help().is_some() {
            page.render_extra_section(out)?;
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().read_to_string(&mut text)?;
    } else {
        text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    }
    Ok(text)
}

/// Checks every file, also after one that can't be read.
fn check(arguments: &CheckArguments) -> u8 {
    let mut code = FINE;
    let mut all = Vec::new();
    for file in &arguments.files {
        let shown = file.display();
        let checked = read(file).and_then(|text| {
            check::check(&text)
                .map_err(|error| anyhow!("{shown}:{}: is not YAML: {}", error.line, error.reason))
        });
        let checked = match checked {
            Ok(checked) => checked,
            Err(error) => {
                eprintln!("wsbalancer: {error:#}");
                code = FAILED;
                continue;
            }
        };
        for line in &checked.others {
            eprintln!("{shown}:{line}: a Wasm filter that is not this one was left out");
        }
        if checked.accepted == 0 && checked.refused.is_empty() {
            eprintln!("wsbalancer: {shown}: has no configuration of the filter");
            code = FAILED;
        }
        if !checked.refused.is_empty() {
            code = code.max(WRONG);
        }
        match arguments.format {
            Format::Json => all.push(as_json(file, checked.accepted, &checked.refused)),
            Format::Text => {
                for refusal in &checked.refused {
                    println!("{shown}:{}: {refusal}", refusal.line);
                }
                if checked.refused.is_empty() && checked.accepted > 0 {
                    println!("{shown}: {}", configurations(checked.accepted));
                }
            }
        }
    }
    if arguments.format == Format::Json {
        println!("{:#}", Value::Array(all));
    }
    code
}

fn configurations(count: usize) -> String {
    match count {
        1 => "1 configuration, as the filter takes it".to_owned(),
        count => format!("{count} configurations, as the filter takes them"),
    }
}

fn as_json(file: &Path, accepted: usize, refused: &[Refusal]) -> Value {
    json!({ "file": file.display().to_string(), "accepted": accepted, "refused": refused })
}

fn render(arguments: &RenderArguments) -> Result<u8> {
    let shown = arguments.file.display();
    let target = match arguments.target {
        For::Envoy => Target::Envoy,
        For::Istio => Target::Istio,
        For::EnvoyGateway => Target::EnvoyGateway,
        For::Kubernetes => Target::Kubernetes,
        For::Compose => Target::Compose,
    };
    let text = read(&arguments.file)?;
    let short = Short::parse(&text).map_err(|error| anyhow!("{shown}:{error}"))?;
    let rendered = render::render(&short, target).map_err(|error| anyhow!("{shown}: {error}"))?;
    for remark in &rendered.remarks {
        eprintln!("{remark}");
    }
    if let Some(folder) = &arguments.output {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        for file in &rendered.files {
            let path = folder.join(file.name);
            fs::write(&path, &file.text).with_context(|| path.display().to_string())?;
            println!("{}", path.display());
        }
    } else if let Some((first, others)) = rendered.files.split_first() {
        print!("{}", first.text);
        for file in others {
            eprintln!("with --output there is also {}", file.name);
        }
    }
    Ok(FINE)
}

fn doctor(arguments: &DoctorArguments) -> Result<u8> {
    let envoy = doctor::admin::read(&arguments.address)?;
    let findings = doctor::examine(&envoy);
    match arguments.format {
        Format::Json => println!("{:#}", json!({ "findings": findings })),
        Format::Text => {
            for finding in &findings {
                println!("{finding}");
            }
            if findings.is_empty() {
                println!("nothing found");
            }
            if envoy.status.is_null() {
                eprintln!("the filter's status can't be reached: its pods were not looked at");
            }
        }
    }
    Ok(if findings.is_empty() { FINE } else { WRONG })
}
