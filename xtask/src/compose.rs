//! docker-compose.yml, tried as it stands: pods, an Envoy and clients in containers, pods that come
//! and one that is killed.

use std::process;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use xshell::{Cmd, Shell, cmd};

use crate::probe::succeeds;

mod images;
mod prebuilt;

pub(crate) use images::{has_all as has_images, provide as provide_images};

/// What the project's own images are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MadeOf {
    /// The sources, as for whoever runs docker-compose: all is compiled in a container.
    Sources,
    /// What this machine has built.
    Built,
}

impl MadeOf {
    /// What saves the time of compiling a second time, where what was built here runs in the images.
    pub(crate) fn quickest(shell: &Shell) -> Self {
        if prebuilt::fits(shell) {
            Self::Built
        } else {
            Self::Sources
        }
    }
}

/// Tries the file on the machine's Docker Engine, which has the images that it names.
pub(crate) fn try_out(shell: &Shell, made_of: MadeOf) -> Result<()> {
    let project = Project::new(shell, made_of)?;
    let tried = project.try_out();
    if tried.is_err() {
        // Why the containers did what they did.
        let _shown = project.compose(["logs", "--tail", "40"]).run();
    }
    let taken_down = project.take_down();
    tried.and(taken_down)
}

/// What runs the file: a program, and the plugin's name where it is one.
type Program = (&'static str, Option<&'static str>);

/// `docker compose`, or else `docker-compose`.
pub(crate) fn program(shell: &Shell) -> Result<Program> {
    [("docker", Some("compose")), ("docker-compose", None)]
        .into_iter()
        .find(|(program, plugin)| succeeds(cmd!(shell, "{program} {plugin...} version")))
        .context("there is neither `docker compose` nor `docker-compose`")
}

/// The services of the file under a name that nobody else uses.
struct Project<'a> {
    shell: &'a Shell,
    name: String,
    compose: Program,
    /// The files that docker-compose puts together.
    files: String,
}

impl<'a> Project<'a> {
    fn new(shell: &'a Shell, made_of: MadeOf) -> Result<Self> {
        Ok(Self {
            shell,
            name: format!("wsbalancer-test-{}", process::id()),
            compose: program(shell)?,
            files: match made_of {
                MadeOf::Sources => "docker-compose.yml".to_owned(),
                MadeOf::Built => prebuilt::provide(shell)?,
            },
        })
    }

    fn compose<const N: usize>(&self, arguments: [&str; N]) -> Cmd<'a> {
        let (shell, name) = (self.shell, &self.name);
        let (program, plugin) = self.compose;
        cmd!(shell, "{program} {plugin...} --project-name {name}")
            .args(arguments)
            .env("COMPOSE_FILE", &self.files)
            // Ports that the system chooses: the usual ones may be in use.
            .env("WSBALANCER_PORT", "0")
            .env("WSBALANCER_STATUS_PORT", "0")
            .env("WSBALANCER_PROMETHEUS_PORT", "0")
    }

    fn try_out(&self) -> Result<()> {
        // Prometheus looks every 15 s, while all else goes on.
        let monitoring = ["--profile", "monitoring", "up", "--build", "--detach"];
        self.compose(monitoring)
            .args(["--scale", "pod=3", "pod", "envoy", "prometheus"])
            .run()?;
        self.compose(["build", "client"]).run()?;
        let report = self.client(&["--connections", "200", "--max-imbalance", "1.05"])?;
        expect(&report, "/connections/opened", 200)?;
        // It fails where it can't be shown.
        self.compose(["run", "--rm", "-T", "client"])
            .args(["watch", "--once", "http://envoy:9902/balancer-metrics"])
            .run()?;

        self.statistics_alone_are_reached()?;

        // The next ones find the pods that are new empty, and 200 WebSockets on the others.
        let first = self.hold(200)?;
        self.scale(6)?;
        let report = self.client(&[
            "--connections",
            "300",
            "--rate",
            "100",
            "--max-imbalance",
            "1.05",
        ])?;
        expect(&report, "/connections/failed", 0)?;
        let cmd_shell = self.shell;
        cmd!(cmd_shell, "docker rm --force {first}")
            .ignore_stdout()
            .run()?;

        self.kill_one_under_load()?;
        self.is_scraped()
    }

    /// Of Envoy's admin interface, other containers get the statistics and nothing else.
    fn statistics_alone_are_reached(&self) -> Result<()> {
        const REFUSED: &str = "";
        let requests = [
            (9903, "GET /stats/prometheus", "200"),
            (9903, "GET /stats/prometheus?usedonly", "200"),
            (9903, "POST /stats/prometheus", "404"),
            (9903, "GET /quitquitquit", "404"),
            (9903, "POST /quitquitquit", "404"),
            (9903, "GET /config_dump", "404"),
            (9903, "GET /stats/prometheus/../../config_dump", "404"),
            (9903, "GET /stats", "404"),
            (9901, "GET /stats/prometheus", REFUSED),
        ];
        // A line for each, in one go: every look into a container takes a second or two.
        let script = requests.map(|(port, request, _expected)| {
            let ask = ask("envoy", port, request);
            format!("echo \"$( ({ask}) 2> /dev/null | head --lines 1)\"")
        });
        // In a pod, which is not to know more of Envoy than Prometheus is.
        let script = script.join("\n");
        let pod = self.compose(["exec", "-T", "pod", "bash", "-c", &script]);
        let answers = pod.quiet().read()? + "\n";
        let answers: Vec<&str> = answers.split('\n').collect();
        for (at, (port, request, expected)) in requests.into_iter().enumerate() {
            let answer = answers.get(at).copied().unwrap_or_default();
            let found = answer.split(' ').nth(1).unwrap_or_default();
            ensure!(
                found == expected,
                "port {port}, {request}: {found:?}, not {expected:?}"
            );
        }
        Ok(())
    }

    /// The Prometheus of the file gets both of its jobs, and has the alerts.
    fn is_scraped(&self) -> Result<()> {
        let both = "query?query=count(wsbalancer_pods)*count(envoy_server_live)";
        for (question, shown) in [(both, "\"value\":["), ("rules", "WsbalancerAbsent")] {
            let ask = ask("prometheus", 9090, &format!("GET /api/v1/{question}"));
            let asked = self.compose(["exec", "-T", "envoy", "bash", "-c", &ask]);
            let asked = asked.quiet().ignore_stderr();
            wait_until(question, || Ok(asked.read()?.contains(shown)))?;
        }
        Ok(())
    }

    /// Runs the client to its end; what it reports.
    fn client(&self, arguments: &[&str]) -> Result<Value> {
        let client = self.run_client(["run", "--rm", "-T", "client"], arguments);
        let output = client.ignore_status().output()?;
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "the client is not content: {report}"
        );
        serde_json::from_str(&report).with_context(|| format!("no report: {report}"))
    }

    /// Starts a client that opens WebSockets and holds them; its container.
    fn hold(&self, websockets: u32) -> Result<String> {
        let connections = websockets.to_string();
        let client = self.run_client(
            ["run", "--detach", "client"],
            &["--connections", &connections, "--keep"],
        );
        let output = client.read()?;
        let container = output
            .lines()
            .last()
            .context("a container's name")?
            .to_owned();
        self.until_logged(&container, "\"opened\"")?;
        Ok(container)
    }

    fn run_client<const N: usize>(&self, run: [&str; N], arguments: &[&str]) -> Cmd<'a> {
        self.compose(run)
            .args(["load", "ws://envoy:10000/", "--pods", "pod:8080", "--json"])
            .args(arguments)
    }

    /// Waits until the container has written `text`.
    fn until_logged(&self, container: &str, text: &str) -> Result<()> {
        let shell = self.shell;
        let log = cmd!(shell, "docker logs {container}")
            .quiet()
            .ignore_stderr();
        wait_until(text, || Ok(log.read()?.contains(text)))
    }

    /// Has so many pods, of all of which the filter knows.
    fn scale(&self, pods: u32) -> Result<()> {
        let scale = format!("pod={pods}");
        self.compose([
            "up",
            "--detach",
            "--no-recreate",
            "--scale",
            &scale,
            "pod",
            "envoy",
        ])
        .run()?;
        self.until_usable(pods)
    }

    fn until_usable(&self, pods: u32) -> Result<()> {
        let ask = get(9901, "/stats?filter=pods_usable");
        let stats = self
            .compose(["exec", "-T", "envoy", "bash", "-c", &ask])
            .quiet();
        let usable = format!("pods_usable: {pods}\n");
        wait_until(&usable, || {
            Ok(format!("{}\n", stats.read()?).contains(&usable))
        })
    }

    /// A pod is killed while WebSockets are opened: its own are lost, and nobody else notices.
    fn kill_one_under_load(&self) -> Result<()> {
        let shell = self.shell;
        let pods = self.compose(["ps", "-q", "pod"]).read()?;
        let pod = pods.lines().next().context("a pod")?;
        let client = self.run_client(
            ["run", "--detach", "client"],
            &["--connections", "600", "--rate", "100", "--messages", "0"],
        );
        let output = client.read()?;
        let container = output.lines().last().context("a container's name")?;
        let ask = get(8080, "/metric");
        let count = cmd!(shell, "docker exec {pod} bash -c {ask}").quiet();
        wait_until("WebSockets on the pod", || {
            Ok(!count.read()?.contains("\"agentsConnections\":0"))
        })?;
        cmd!(shell, "docker kill {pod}").ignore_stdout().run()?;
        // It exits with 1, because of the WebSockets that the pod had.
        cmd!(shell, "docker wait {container}")
            .ignore_stdout()
            .run()?;
        let report = cmd!(shell, "docker logs {container}")
            .ignore_stderr()
            .read()?;
        let report: Value = serde_json::from_str(&report).context("no report")?;
        cmd!(shell, "docker rm --force {container}")
            .ignore_stdout()
            .run()?;
        expect(&report, "/connections/opened", 600)?;
        expect(&report, "/connections/failed", 0)
    }

    /// Takes everything down, and makes sure that nothing is left.
    fn take_down(&self) -> Result<()> {
        let (shell, name) = (self.shell, &self.name);
        let down = ["--profile", "monitoring", "down", "--volumes"];
        self.compose(down).arg("--remove-orphans").run()?;
        let label = format!("label=com.docker.compose.project={name}");
        for kind in ["container", "network", "volume"] {
            let all = (kind == "container").then_some("--all");
            let left = cmd!(shell, "docker {kind} ls {all...} --quiet --filter {label}").read()?;
            ensure!(left.is_empty(), "a {kind} is left: {left}");
        }
        Ok(())
    }
}

/// A script for bash that asks a port of its container.
fn get(port: u16, path: &str) -> String {
    ask("127.0.0.1", port, &format!("GET {path}"))
}

/// A script for bash that sends a request, such as `GET /metric`: there is no curl in the images.
fn ask(host: &str, port: u16, request: &str) -> String {
    format!(
        "exec 3<>/dev/tcp/{host}/{port} && printf '{request} HTTP/1.1\\r\\nhost: container\\r\\n\
         content-length: 0\\r\\nconnection: close\\r\\n\\r\\n' >&3 && cat <&3"
    )
}

fn expect(report: &Value, place: &str, number: u64) -> Result<()> {
    let found = report.pointer(place).and_then(Value::as_u64);
    if found != Some(number) {
        bail!("{place} is not {number}: {report:#}");
    }
    Ok(())
}

/// Waits for what containers do in their own time.
fn wait_until(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
    let mut failure = None;
    wsbalancer_harness::wait_until(what, PATIENCE, || match condition() {
        Ok(true) => Some(()),
        Ok(false) => None,
        // A container that is about to start can't be asked yet.
        Err(error) => {
            failure = Some(error);
            None
        }
    })
    .map_err(|error| failure.map_or(error, |failure| failure.context("waited in vain")))
}
