//! A pod that refuses connections, and comes back on the same address.

use std::io::ErrorKind;

use axum::body::Bytes;
use axum::http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use wsbalancer_backend::{Fleet, FleetConfig, Pod};

use crate::support::{assert_echo, open, start};

async fn assert_refused(pod: &Pod) {
    let error = TcpStream::connect(pod.address()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn refuses_and_accepts_again_at_once_and_on_the_same_address() {
    let fleet = start(2).await;
    let [pod, other] = fleet.pods() else { panic!() };
    let mut old = open(pod).await;
    for _ in 0..50 {
        pod.refuse().await;
        assert_refused(pod).await;
        pod.accept().await.unwrap();
        assert_echo(&mut open(pod).await, Message::text("new")).await;
    }
    pod.refuse().await;
    assert_echo(&mut old, Message::text("old")).await;
    assert_echo(&mut open(other).await, Message::text("other")).await;
}

#[tokio::test]
async fn saying_it_twice_changes_nothing() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    pod.accept().await.unwrap();
    pod.refuse().await;
    pod.refuse().await;
    assert_refused(pod).await;
    pod.accept().await.unwrap();
    open(pod).await;
}

#[tokio::test]
async fn may_start_out_refusing() {
    let mut config = FleetConfig::local(1);
    config.pods[0].refusing = true;
    let fleet = Fleet::start(config).await.unwrap();
    let pod = &fleet.pods()[0];
    assert_refused(pod).await;
    pod.accept().await.unwrap();
    open(pod).await;
}

#[tokio::test]
async fn keeps_its_port_while_it_refuses() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    pod.refuse().await;
    let thief = TcpSocket::new_v4().unwrap().bind(pod.address());
    assert_eq!(thief.unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn takes_no_further_request_on_a_connection_that_was_kept() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    let stream = TcpStream::connect(pod.address()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let poll = || {
        Request::get("/metric")
            .header("host", "pod")
            .body(Empty::<Bytes>::new())
            .unwrap()
    };
    for _ in 0..2 {
        let answer = sender.send_request(poll()).await.unwrap();
        answer.into_body().collect().await.unwrap();
    }
    pod.refuse().await;
    assert!(sender.send_request(poll()).await.is_err());
    // The pod has closed the connection, it has not just ignored the request.
    let _ = connection.await.unwrap();
    assert_eq!(pod.polls(), 2);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let fleet = start(1).await;
    let mut config = FleetConfig::local(2);
    config.pods[1].listen = fleet.pods()[0].address();
    let error = format!("{:#}", Fleet::start(config).await.unwrap_err());
    let named = format!("pod 1 can't listen on {}", fleet.pods()[0].address());
    assert!(error.starts_with(&named), "{error}");
}
