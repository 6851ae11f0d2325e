//! Connections that nothing disturbs.

use std::io;

use super::*;

#[test]
fn a_handshake_takes_one_round_trip() {
    let mut lab = Lab::with(WorldOptions { link: link(12_345, 0), ..options() });
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let times = lab.run(async move {
        let listener = bind(&farm, EXCHANGE).await;
        let dialled = clock.clone();
        let client = async move {
            let (_stream, local) = network.connect(None, at(EXCHANGE)).await.unwrap();
            (elapsed(&dialled), local)
        };
        let server = async move {
            let (_stream, peer) = farm.accept(&listener).await.unwrap();
            (elapsed(&clock), peer)
        };
        tokio::join!(client, server)
    });
    let ((connected, local), (accepted, peer)) = times;
    assert_eq!((connected, accepted), (24.690, 37.035));
    assert_eq!(local, peer);
    assert_eq!(local.ip(), ip(OUR_ADDRESS));
}

#[test]
fn a_dialogue_takes_a_round_trip_a_line() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let listening = farm.clone();
    let times = lab.run(async move {
        let listener = bind(&farm, EXCHANGE).await;
        farm.spawn(echo(listening, listener));
        let mut stream = connect(&network, EXCHANGE).await;
        let mut times = vec![elapsed(&clock)];
        for line in ["EHLO a\r\n", "MAIL FROM:<>\r\n", "QUIT\r\n"] {
            stream.write_all(line.as_bytes()).await.unwrap();
            assert_eq!(read_exactly(&mut stream, line.len()).await, line.as_bytes());
            times.push(elapsed(&clock));
        }
        times
    });
    assert_eq!(times, [20.0, 40.0, 60.0, 80.0]);
    lab.drain();
}

/// The side that closes first, the other, and how each sees it.
#[test]
fn either_side_closes_in_good_order() {
    for client_first in [true, false] {
        let mut lab = Lab::new();
        let (network, farm) = (lab.network.clone(), lab.farm.clone());
        lab.run(async move {
            let listener = bind(&farm, EXCHANGE).await;
            let (client, server) = tokio::join!(connect(&network, EXCHANGE), async {
                farm.accept(&listener).await.unwrap().0
            });
            let (first, mut second) =
                if client_first { (client, server) } else { (server, client) };
            drop(first);
            assert_eq!(second.read(&mut [0; 8]).await.unwrap(), 0);
        });
        lab.drain();
    }
}

#[test]
fn a_half_closed_connection_carries_the_answer() {
    let mut lab = Lab::new();
    let (network, farm) = (lab.network.clone(), lab.farm.clone());
    let answer = lab.run(async move {
        let listener = bind(&farm, EXCHANGE).await;
        let server = async {
            let (mut stream, _) = farm.accept(&listener).await.unwrap();
            let mut question = String::new();
            stream.read_to_string(&mut question).await.unwrap();
            stream.write_all(format!("you said {question}").as_bytes()).await.unwrap();
        };
        let client = async {
            let mut stream = connect(&network, EXCHANGE).await;
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
            let refused = stream.write(b"more").await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        tokio::join!(client, server).0
    });
    assert_eq!(answer, "you said hello");
    lab.drain();
}

#[test]
fn each_source_is_seen_by_the_peer() {
    let mut lab = Lab::new();
    let (network, farm) = (lab.network.clone(), lab.farm.clone());
    let seen = lab.run(async move {
        let v4 = bind(&farm, EXCHANGE).await;
        let v6 = bind(&farm, "[2001:db8:ffff::25]:25").await;
        let mut seen = Vec::new();
        for (source, listener) in [
            (Some("192.0.2.2"), &v4),
            (Some("192.0.2.1"), &v4),
            (None, &v4),
            (Some("2001:db8::1"), &v6),
            (None, &v6),
        ] {
            let peer = farm.local_addr(listener).unwrap();
            let (ours, theirs) =
                tokio::join!(network.connect(source.map(ip), peer), farm.accept(listener));
            let (local, client) = (ours.unwrap().1, theirs.unwrap().1);
            assert_eq!(local, client);
            seen.push(client.ip().to_string());
        }
        seen
    });
    assert_eq!(seen, ["192.0.2.2", "192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8::1"]);
}

#[test]
fn the_farm_connects_to_our_listeners() {
    let mut lab = Lab::new();
    let (network, farm) = (lab.network.clone(), lab.farm.clone());
    lab.run(async move {
        for (listen, dial) in [
            ("192.0.2.1:25", "192.0.2.1:25"),
            ("0.0.0.0:587", "192.0.2.2:587"),
            ("[::]:25", "[2001:db8::1]:25"),
        ] {
            let listener = bind(&network, listen).await;
            let client = if at(dial).is_ipv4() { "203.0.113.9" } else { "2001:db8:9::9" };
            let (dialled, accepted) =
                tokio::join!(farm.connect(Some(ip(client)), at(dial)), network.accept(&listener));
            assert_eq!(dialled.unwrap().1, accepted.unwrap().1);
        }
    });
}

#[test]
fn what_stays_on_our_side_takes_no_time() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    lab.run(async move {
        let listener = bind(&network, "0.0.0.0:25").await;
        for dial in ["127.0.0.1:25", "192.0.2.1:25"] {
            let (dialled, accepted) =
                tokio::join!(network.connect(None, at(dial)), network.accept(&listener));
            assert_eq!(accepted.unwrap().1.ip(), at(dial).ip());
            drop(dialled.unwrap());
        }
        assert_eq!(elapsed(&clock), 0.0);
        let stranger = farm.connect(Some(ip("203.0.113.9")), at("127.0.0.1:25")).await;
        assert_eq!(stranger.unwrap_err().kind(), io::ErrorKind::NetworkUnreachable);
    });
}

/// What cannot be bound or connected from, and the error each time.
#[test]
fn addresses_of_the_other_side_are_not_available() {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable, InvalidInput};
    let mut lab = Lab::new();
    let (network, farm) = (lab.network.clone(), lab.farm.clone());
    lab.run(async move {
        let _taken = bind(&network, "0.0.0.0:25").await;
        let bound = |side: &SimNetwork, local: &str| {
            let (side, local) = (side.clone(), at(local));
            async move { side.bind(local, 1).await.unwrap_err().kind() }
        };
        assert_eq!(bound(&network, "198.51.100.7:25").await, AddrNotAvailable);
        assert_eq!(bound(&network, "192.0.2.2:25").await, AddrInUse);
        assert_eq!(bound(&farm, "192.0.2.1:26").await, AddrNotAvailable);
        assert_eq!(bound(&farm, "0.0.0.0:26").await, AddrNotAvailable);
        let dialled = |side: &SimNetwork, source: &str, peer: &str| {
            let (side, source, peer) = (side.clone(), Some(ip(source)), at(peer));
            async move { side.connect(source, peer).await.unwrap_err().kind() }
        };
        assert_eq!(dialled(&network, "192.0.2.9", EXCHANGE).await, AddrNotAvailable);
        assert_eq!(dialled(&network, "2001:db8::1", EXCHANGE).await, InvalidInput);
        assert_eq!(dialled(&farm, "192.0.2.1", "192.0.2.2:25").await, AddrNotAvailable);
    });
}

#[test]
fn an_address_where_nobody_listens_refuses_after_a_round_trip() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    lab.run(async move {
        let listener = bind(&farm, EXCHANGE).await;
        drop(listener);
        for peer in [EXCHANGE, "198.51.100.7:26", "203.0.113.1:25"] {
            let before = elapsed(&clock);
            let error = network.connect(None, at(peer)).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            assert_eq!(elapsed(&clock) - before, 20.0);
        }
    });
    lab.drain();
}
