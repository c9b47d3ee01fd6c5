//! The count is true, however WebSockets begin and end.

use std::time::Instant;

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use wsbalancer_backend::{Pod, raise_descriptor_limit};

use crate::support::{assert_echo, open, poll, start};

async fn told(pod: &Pod) -> u64 {
    poll(pod).await.json()["agentsConnections"]
        .as_u64()
        .unwrap()
}

#[tokio::test]
async fn counts_from_the_handshake_to_the_close() {
    let fleet = start(2).await;
    let [pod, other] = fleet.pods() else { panic!() };
    let mut first = open(pod).await;
    let _second = open(pod).await;
    assert_eq!((told(pod).await, told(other).await), (2, 0));

    first.close(None).await.unwrap();
    while first.next().await.is_some() {}
    pod.until(|counters| counters.open == 1).await.unwrap();
    assert_eq!(told(pod).await, 1);
    let counters = pod.counters();
    assert_eq!((counters.opened, counters.peak), (2, 2));
}

#[tokio::test]
async fn remembers_when_each_was_opened() {
    let fleet = start(2).await;
    let [pod, other] = fleet.pods() else { panic!() };
    let mut marks = vec![Instant::now()];
    for _ in 0..3 {
        // What is closed again was opened all the same.
        drop(open(pod).await);
        marks.push(Instant::now());
    }
    let openings = pod.openings();
    assert_eq!((openings.len(), other.openings().len()), (3, 0));
    for (opening, marks) in openings.iter().zip(marks.windows(2)) {
        assert!(marks[0] <= *opening && *opening <= marks[1]);
    }
}

#[tokio::test]
async fn counts_down_when_the_client_resets_its_connection() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    let socket = open(pod).await;
    socket.get_ref().set_zero_linger().unwrap();
    drop(socket);
    pod.until(|counters| counters.open == 0 && counters.opened == 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn counts_down_when_the_client_just_leaves() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    drop(open(pod).await);
    pod.until(|counters| counters.open == 0 && counters.opened == 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn dropped_websockets_end_without_a_close_frame() {
    let fleet = start(2).await;
    let [pod, other] = fleet.pods() else { panic!() };
    let mut dropped = [open(pod).await, open(pod).await];
    let mut spared = open(other).await;

    pod.drop_connections().await;
    assert_eq!(pod.open(), 0);
    for socket in &mut dropped {
        let end = socket.next().await;
        assert!(matches!(end, Some(Err(_))), "{end:?}");
    }
    assert_echo(&mut spared, Message::text("still here")).await;
    // It happens once: whoever comes next stays.
    let mut next = open(pod).await;
    assert_echo(&mut next, Message::text("welcome")).await;
}

#[tokio::test]
async fn drops_a_websocket_whose_client_does_not_read() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    let mut socket = open(pod).await;
    // The echo is larger than what the kernel takes off the pod's hands.
    let message = Message::binary(vec![0; 32 * 1024 * 1024]);
    socket.send(message).await.unwrap();
    pod.drop_connections().await;
    assert_eq!(pod.open(), 0);
}

#[tokio::test]
async fn counts_thousands() {
    const COUNT: u64 = 2000;
    raise_descriptor_limit().unwrap();
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    let sockets = join_all((0..COUNT).map(|_| open(pod))).await;
    assert_eq!(told(pod).await, COUNT);
    drop(sockets);
    let counters = pod.until(|counters| counters.open == 0).await.unwrap();
    assert_eq!((counters.opened, counters.peak), (COUNT, COUNT));
}

#[tokio::test]
async fn websockets_end_with_the_fleet() {
    let fleet = start(1).await;
    let pod = fleet.pods()[0].clone();
    let mut socket = open(&pod).await;
    fleet.shutdown().await;
    assert_eq!(pod.open(), 0);
    let end = socket.next().await;
    assert!(matches!(end, Some(Err(_))), "{end:?}");

    let fleet = start(1).await;
    let mut socket = open(&fleet.pods()[0]).await;
    drop(fleet);
    let end = socket.next().await;
    assert!(matches!(end, Some(Err(_))), "{end:?}");
}
