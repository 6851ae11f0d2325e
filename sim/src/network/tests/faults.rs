//! What goes wrong, when it is noticed, and that nothing of it stays behind.

use std::io::{self, ErrorKind};

use super::*;
use crate::network::{Fault, Path, Prefix};

/// A client and a server of one connection.
async fn pair(network: &SimNetwork, farm: &SimNetwork) -> (SimStream, SimStream) {
    let listener = bind(farm, EXCHANGE).await;
    let (client, server) = tokio::join!(connect(network, EXCHANGE), farm.accept(&listener));
    (client, server.unwrap().0)
}

async fn read_error(stream: &mut SimStream) -> ErrorKind {
    stream.read(&mut [0; 64]).await.unwrap_err().kind()
}

/// `attempt`, given up after `wait`.
async fn within<T>(
    clock: &SimClock,
    wait: Duration,
    attempt: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = attempt => Some(done),
        () = pause(clock, wait) => None,
    }
}

#[test]
fn an_abort_resets_the_peer_after_a_latency() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    lab.run(async move {
        let (mut client, mut server) = pair(&network, &farm).await;
        server.write_all(b"421 bye\r\n").await.unwrap();
        let before = elapsed(&clock);
        farm.abort(server);
        assert_eq!(read_exactly(&mut client, 9).await, b"421 bye\r\n");
        assert_eq!(read_error(&mut client).await, ErrorKind::ConnectionReset);
        assert_eq!(elapsed(&clock) - before, 10.0);
        let error = client.write(b"QUIT\r\n").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
    lab.drain();
}

#[test]
fn closing_with_unread_data_resets_the_peer() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    lab.run(async move {
        let (mut client, server) = pair(&network, &farm).await;
        client.write_all(b"RCPT TO:<a@b>\r\n").await.unwrap();
        pause(&clock, Duration::from_secs(1)).await;
        drop(server);
        assert_eq!(read_error(&mut client).await, ErrorKind::ConnectionReset);
    });
    lab.drain();
}

#[test]
fn writing_to_a_peer_that_has_closed_ends_in_a_reset() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    lab.run(async move {
        let (mut client, server) = pair(&network, &farm).await;
        drop(server);
        client.write_all(b"MAIL FROM:<>\r\n").await.unwrap();
        pause(&clock, Duration::from_millis(30)).await;
        let error = client.write(b"QUIT\r\n").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
    lab.drain();
}

/// A reset arrives while the receiver has data to read, and another task of it waits to write.
#[test]
fn data_is_read_before_the_reset_behind_it_and_a_writer_fails_at_once() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    lab.run(async move {
        let (client, mut server) = pair(&network, &farm).await;
        let (mut reading, mut writing) = tokio::io::split(client);
        let written = async {
            let error = writing.write_all(&vec![b'x'; 1 << 20]).await.unwrap_err();
            (error.kind(), elapsed(&clock))
        };
        let aborted = async {
            server.write_all(b"552 too much\r\n").await.unwrap();
            pause(&clock, Duration::from_secs(1)).await;
            farm.abort(server);
            elapsed(&clock) + 10.0
        };
        let (written, reset) = tokio::join!(written, aborted);
        assert_eq!(written, (ErrorKind::ConnectionReset, reset));
        let mut reply = [0; 14];
        reading.read_exact(&mut reply).await.unwrap();
        assert_eq!(&reply, b"552 too much\r\n");
        let error = reading.read(&mut reply).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
    lab.drain();
}

#[test]
fn a_refusing_address_refuses_while_open_connections_go_on() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let links = lab.world.links();
    lab.run(async move {
        let listener = bind(&farm, EXCHANGE).await;
        farm.spawn(echo(farm.clone(), listener));
        let mut old = connect(&network, EXCHANGE).await;
        let fault = links.impose(Path::to(ip("198.51.100.7")), Fault::Refuse);
        let before = elapsed(&clock);
        let error = network.connect(None, at(EXCHANGE)).await.unwrap_err();
        assert_eq!((error.kind(), elapsed(&clock) - before), (ErrorKind::ConnectionRefused, 20.0));
        old.write_all(b"NOOP\r\n").await.unwrap();
        assert_eq!(read_exactly(&mut old, 6).await, b"NOOP\r\n");
        links.lift(fault);
        connect(&network, EXCHANGE).await;
    });
    lab.drain();
}

#[test]
fn an_unreachable_address_says_so_and_open_connections_hang() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let links = lab.world.links();
    lab.run(async move {
        let listener = bind(&farm, EXCHANGE).await;
        farm.spawn(echo(farm.clone(), listener));
        let mut old = connect(&network, EXCHANGE).await;
        let fault = links.impose(Path::to(ip("198.51.100.7")), Fault::Unreachable);
        let before = elapsed(&clock);
        let error = network.connect(None, at(EXCHANGE)).await.unwrap_err();
        assert_eq!((error.kind(), elapsed(&clock) - before), (ErrorKind::HostUnreachable, 20.0));
        old.write_all(b"NOOP\r\n").await.unwrap();
        let answered = within(&clock, Duration::from_secs(1), read_exactly(&mut old, 6)).await;
        assert_eq!(answered, None);
        links.lift(fault);
        assert_eq!(read_exactly(&mut old, 6).await, b"NOOP\r\n");
        connect(&network, EXCHANGE).await;
    });
    lab.drain();
}

#[test]
fn the_caller_gives_up_on_a_black_hole() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let links = lab.world.links();
    lab.run(async move {
        let listener = bind(&farm, EXCHANGE).await;
        let far: Prefix = "198.51.100.0/24".parse().unwrap();
        let fault = links.impose(Path::to(far), Fault::BlackHole);
        let timeout = Duration::from_secs(30);
        assert!(within(&clock, timeout, connect(&network, EXCHANGE)).await.is_none());
        assert_eq!(elapsed(&clock), 30_000.0);
        links.lift(fault);
        let hour = Duration::from_secs(3600);
        assert!(within(&clock, hour, farm.accept(&listener)).await.is_none(), "the SYN is gone");
        let accepted = tokio::join!(connect(&network, EXCHANGE), farm.accept(&listener));
        accepted.1.unwrap();
    });
    lab.drain();
}

#[test]
fn a_black_hole_ends_in_a_time_out_when_nobody_gives_up() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let links = lab.world.links();
    lab.run(async move {
        let (mut client, mut server) = pair(&network, &farm).await;
        let begun = elapsed(&clock);
        links.impose(Path::default(), Fault::BlackHole);
        let error = network.connect(None, at(EXCHANGE)).await.unwrap_err();
        assert_eq!((error.kind(), elapsed(&clock) - begun), (ErrorKind::TimedOut, 127_000.0));

        client.write_all(b"RSET\r\n").await.unwrap();
        let begun = elapsed(&clock);
        assert_eq!(read_error(&mut client).await, ErrorKind::TimedOut);
        assert_eq!((elapsed(&clock) - begun) / 1000.0, 945.06);
        drop(client);
        // The server has nothing to send, so it does not notice.
        let day = Duration::from_secs(86_400);
        assert!(within(&clock, day, server.read(&mut [0; 8])).await.is_none());
    });
    lab.drain();
}

/// Bytes written into a hole of 20 s arrive when the sender tries again: after waits of 220 ms,
/// 440 ms, 880 ms ... the first attempt after the hole is at 27,940 ms.
#[test]
fn a_connection_survives_a_short_black_hole() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let links = lab.world.links();
    lab.run(async move {
        let (mut client, mut server) = pair(&network, &farm).await;
        let fault = links.impose(Path::from(ip(OUR_ADDRESS)), Fault::BlackHole);
        let begun = elapsed(&clock);
        client.write_all(b"RSET\r\n").await.unwrap();
        pause(&clock, Duration::from_secs(1)).await;
        client.write_all(b"NOOP\r\n").await.unwrap();
        pause(&clock, Duration::from_secs(19)).await;
        links.lift(fault);
        assert_eq!(read_exactly(&mut server, 12).await, b"RSET\r\nNOOP\r\n");
        assert_eq!(elapsed(&clock) - begun, 27_950.0);
        server.write_all(b"250 ok\r\n").await.unwrap();
        assert_eq!(read_exactly(&mut client, 8).await, b"250 ok\r\n");
        assert_eq!(elapsed(&clock) - begun, 27_960.0);
    });
    lab.drain();
}

#[test]
fn some_of_our_addresses_are_partitioned_and_the_others_are_not() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let links = lab.world.links();
    lab.run(async move {
        let _listener = bind(&farm, EXCHANGE).await;
        links.impose(Path::from(ip("192.0.2.1")), Fault::BlackHole);
        let minute = Duration::from_secs(60);
        let mut reached = Vec::new();
        for source in ["192.0.2.1", "192.0.2.2"] {
            let attempt = network.connect(Some(ip(source)), at(EXCHANGE));
            reached.push(within(&clock, minute, attempt).await.is_some());
        }
        assert_eq!(reached, [false, true]);
    });
    lab.drain();
}

#[test]
fn a_reset_ends_what_is_open_and_opening_but_nothing_later() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let links = lab.world.links();
    lab.run(async move {
        let (mut client, mut server) = pair(&network, &farm).await;
        let (mut other, _kept) = {
            let listener = bind(&farm, "198.51.100.8:25").await;
            let dialled =
                tokio::join!(connect(&network, "198.51.100.8:25"), farm.accept(&listener));
            (dialled.0, dialled.1.unwrap().0)
        };
        let listener = bind(&farm, "198.51.100.7:26").await;
        // One whose SYN travels, and one whose SYN has arrived and whose answer travels.
        let refused = network.connect(None, at("198.51.100.7:26"));
        let opened = async {
            pause(&clock, Duration::from_millis(10)).await;
            connect(&network, "198.51.100.7:26").await
        };
        let late = async {
            pause(&clock, Duration::from_millis(15)).await;
            network.connect(None, at("198.51.100.7:26")).await
        };
        let reset = async {
            pause(&clock, Duration::from_millis(23)).await;
            links.reset(Path::to(ip("198.51.100.7")))
        };
        let (first, mut half_open, late, count) = tokio::join!(refused, opened, late, reset);
        assert_eq!(count, 4);
        drop(first.unwrap());
        assert_eq!(read_error(&mut half_open).await, ErrorKind::ConnectionReset);
        assert_eq!(late.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(read_error(&mut server).await, ErrorKind::ConnectionReset);
        assert_eq!(read_error(&mut client).await, ErrorKind::ConnectionReset);
        // `accept` never finds the half-open ones.
        let hour = Duration::from_secs(3600);
        assert!(within(&clock, hour, farm.accept(&listener)).await.is_none());
        tokio::join!(connect(&network, "198.51.100.7:26"), farm.accept(&listener)).1.unwrap();
        other.write_all(b"NOOP\r\n").await.unwrap();
    });
    lab.drain();
}

#[test]
fn a_path_that_resets_lets_nobody_say_anything() {
    let mut lab = Lab::new();
    let (network, farm) = (lab.network.clone(), lab.farm.clone());
    let links = lab.world.links();
    lab.run(async move {
        links.impose(Path::to(ip("198.51.100.7")), Fault::Reset);
        let (mut client, mut server) = pair(&network, &farm).await;
        server.write_all(b"220 hello\r\n").await.unwrap();
        assert_eq!(read_error(&mut client).await, ErrorKind::ConnectionReset);
        assert_eq!(read_error(&mut server).await, ErrorKind::ConnectionReset);
    });
    lab.drain();
}

#[test]
fn a_cut_connection_is_silent_for_ever_and_its_successor_is_not() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let links = lab.world.links();
    lab.run(async move {
        let (mut client, mut server) = pair(&network, &farm).await;
        assert_eq!(links.cut(Path::default()), 1);
        client.write_all(b"MAIL FROM:<>\r\n").await.unwrap();
        let wait = Duration::from_secs(600);
        assert!(within(&clock, wait, server.read(&mut [0; 8])).await.is_none());
        drop((client, server));
        let (mut client, mut server) = pair(&network, &farm).await;
        client.write_all(b"x").await.unwrap();
        assert_eq!(read_exactly(&mut server, 1).await, b"x");
    });
    lab.drain();
}

#[test]
fn a_link_is_slower_each_way_while_it_lasts() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let links = lab.world.links();
    let times = lab.run(async move {
        let _listener = bind(&farm, EXCHANGE).await;
        let fault = links.impose(Path::default(), Fault::Delay(Duration::from_secs(2)));
        let _slow = connect(&network, EXCHANGE).await;
        let slow = elapsed(&clock);
        links.lift(fault);
        links.impose(Path::default(), Fault::Stretch(30));
        let _stretched = connect(&network, EXCHANGE).await;
        [slow, elapsed(&clock) - slow]
    });
    assert_eq!(times, [4020.0, 600.0]);
}

#[test]
fn a_full_listener_lets_clients_try_again() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    lab.run(async move {
        let listener = farm.bind(at(EXCHANGE), 1).await.unwrap();
        // As on Linux, a backlog of one has room for two.
        let _first = connect(&network, EXCHANGE).await;
        let _second = connect(&network, EXCHANGE).await;
        pause(&clock, Duration::from_secs(1)).await;
        let begun = elapsed(&clock);
        let third = async {
            connect(&network, EXCHANGE).await;
            elapsed(&clock) - begun
        };
        let accepting = async {
            pause(&clock, Duration::from_secs(5)).await;
            farm.accept(&listener).await.unwrap()
        };
        // The SYN arrives after 10 ms, and is sent again 1, 3 and 7 s later.
        assert_eq!(tokio::join!(third, accepting).0, 7030.0);
    });
}

/// A `connect` that is dropped: before its SYN is sent, while that travels, while the answer
/// travels. The listener never sees it, and nothing is left.
#[test]
fn a_connection_cancelled_half_way_leaves_nothing_behind() {
    for wait in [0, 1, 9, 10, 11, 19] {
        let mut lab = Lab::new();
        let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
        lab.run(async move {
            let listener = bind(&farm, EXCHANGE).await;
            let wait = Duration::from_millis(wait);
            assert!(within(&clock, wait, connect(&network, EXCHANGE)).await.is_none());
            let hour = Duration::from_secs(3600);
            assert!(within(&clock, hour, farm.accept(&listener)).await.is_none());
            let (_, accepted) = tokio::join!(connect(&network, EXCHANGE), farm.accept(&listener));
            assert_eq!(accepted.unwrap().1.port(), 49_153);
        });
        lab.drain();
    }
}

#[test]
fn a_listener_that_goes_away_resets_who_waits_for_it() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    lab.run(async move {
        let listener = bind(&farm, EXCHANGE).await;
        let mut waiting = connect(&network, EXCHANGE).await;
        pause(&clock, Duration::from_secs(1)).await;
        drop(listener);
        assert_eq!(read_error(&mut waiting).await, ErrorKind::ConnectionReset);
        // The same address again, while connections of the first listener still end.
        let listener = bind(&farm, EXCHANGE).await;
        let (client, server) = tokio::join!(connect(&network, EXCHANGE), farm.accept(&listener));
        drop(listener);
        let listener = bind(&farm, EXCHANGE).await;
        let (mut client, mut server) = (client, server.unwrap().0);
        client.write_all(b"still here").await.unwrap();
        assert_eq!(read_exactly(&mut server, 10).await, b"still here");
        tokio::join!(connect(&network, EXCHANGE), farm.accept(&listener)).1.unwrap();
    });
    lab.drain();
}

#[test]
fn a_client_that_resets_before_it_is_accepted_is_accepted_and_found_reset() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let error: io::Error = lab.run(async move {
        let listener = bind(&farm, EXCHANGE).await;
        let client = connect(&network, EXCHANGE).await;
        network.abort(client);
        pause(&clock, Duration::from_secs(1)).await;
        let (mut server, _) = farm.accept(&listener).await.unwrap();
        server.read(&mut [0; 8]).await.unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    lab.drain();
}
