//! Windows, back-pressure, bandwidth, and many connections.

use std::io::ErrorKind;

use tokio::task::JoinSet;

use super::*;

/// Bytes that differ from their neighbours.
fn body(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 % 251) as u8).collect()
}

/// Reads to the end in pieces of `piece`, waiting `wait` after each.
async fn read_slowly(
    stream: &mut SimStream,
    clock: &SimClock,
    piece: usize,
    wait: Duration,
) -> Vec<u8> {
    let (mut whole, mut buffer) = (Vec::new(), vec![0; piece]);
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => return whole,
            count => whole.extend_from_slice(&buffer[..count]),
        }
        if !wait.is_zero() {
            pause(clock, wait).await;
        }
    }
}

/// However the receiver reads, all bytes arrive, in order: (piece, wait in milliseconds).
#[test]
fn large_transfers_arrive_whole() {
    for (piece, wait) in [(100_000, 0), (1500, 0), (40_000, 70), (700, 1), (8192, 13)] {
        for from_client in [true, false] {
            let mut lab = Lab::new();
            let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
            let sent = body(1_000_000);
            let expected = sent.clone();
            let received = lab.run(async move {
                let listener = bind(&farm, EXCHANGE).await;
                let dialled = tokio::join!(connect(&network, EXCHANGE), farm.accept(&listener));
                let (client, server) = (dialled.0, dialled.1.unwrap().0);
                let (mut sender, mut receiver) =
                    if from_client { (client, server) } else { (server, client) };
                let sending = async move {
                    sender.write_all(&sent).await.unwrap();
                };
                let wait = Duration::from_millis(wait);
                tokio::join!(sending, read_slowly(&mut receiver, &clock, piece, wait)).1
            });
            assert!(received == expected, "piece {piece}, wait {wait}");
            lab.drain();
        }
    }
}

#[test]
fn a_window_is_sent_each_round_trip() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let spent = lab.run(async move {
        let listener = bind(&farm, EXCHANGE).await;
        let (mut client, server) =
            tokio::join!(connect(&network, EXCHANGE), farm.accept(&listener));
        let mut server = server.unwrap().0;
        let begun = elapsed(&clock);
        let sending = async {
            client.write_all(&body(640_000)).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let receiving = read_slowly(&mut server, &clock, 65_536, Duration::ZERO);
        assert_eq!(tokio::join!(sending, receiving).1.len(), 640_000);
        elapsed(&clock) - begun
    });
    // Ten windows: nine waits for an acknowledgement, and the last one's way.
    assert_eq!(spent, 9.0 * 20.0 + 10.0);
}

#[test]
fn a_peer_that_does_not_read_stops_the_writer() {
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    lab.run(async move {
        let listener = bind(&farm, EXCHANGE).await;
        let (mut client, server) =
            tokio::join!(connect(&network, EXCHANGE), farm.accept(&listener));
        let mut server = server.unwrap().0;
        let mut written = 0;
        let piece = vec![b'x'; 10_000];
        loop {
            tokio::select! {
                biased;
                count = client.write(&piece) => written += count.unwrap(),
                () = pause(&clock, Duration::from_secs(60)) => break,
            }
        }
        // The peer's buffer and our own.
        assert_eq!(written, 65_536 + 65_536);
        read_exactly(&mut server, 100_000).await;
        assert_eq!(client.write(&piece).await.unwrap(), 10_000);
    });
}

#[test]
fn a_bandwidth_stretches_a_transfer() {
    let slow = Link { bandwidth: Some(150_000), ..link(10_000, 0) };
    let mut lab = Lab::with(WorldOptions { link: slow, ..options() });
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let spent = lab.run(async move {
        let listener = bind(&farm, EXCHANGE).await;
        let (mut client, server) =
            tokio::join!(connect(&network, EXCHANGE), farm.accept(&listener));
        let mut server = server.unwrap().0;
        let begun = elapsed(&clock);
        // Twenty packets of 1,500 bytes: 10 ms each.
        client.write_all(&body(20 * 1460)).await.unwrap();
        read_exactly(&mut server, 20 * 1460).await;
        elapsed(&clock) - begun
    });
    assert_eq!(spent, 20.0 * 10.0 + 10.0);
}

#[test]
fn a_bandwidth_of_each_connection_is_its_own() {
    let slow = Link { connection_bandwidth: Some(150_000), ..link(10_000, 0) };
    let mut lab = Lab::with(WorldOptions { link: slow, ..options() });
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let spent = lab.run(async move {
        let listener = bind(&farm, EXCHANGE).await;
        let mut pairs = Vec::new();
        for _ in 0..3 {
            let (client, server) =
                tokio::join!(connect(&network, EXCHANGE), farm.accept(&listener));
            pairs.push((client, server.unwrap().0));
        }
        let begun = elapsed(&clock);
        for (client, _) in &mut pairs {
            client.write_all(&body(20 * 1460)).await.unwrap();
        }
        let mut spent = Vec::new();
        for (_, server) in &mut pairs {
            read_exactly(server, 20 * 1460).await;
            spent.push(elapsed(&clock) - begun);
        }
        spent
    });
    // Twenty packets of 1,500 bytes at 10 ms each, three times at once.
    assert_eq!(spent, [210.0; 3]);
}

#[test]
fn a_thousand_connections_at_once() {
    let mut lab = Lab::new();
    let (network, farm) = (lab.network.clone(), lab.farm.clone());
    lab.run(async move {
        let listener = farm.bind(at(EXCHANGE), 1000).await.unwrap();
        farm.spawn(echo(farm.clone(), listener));
        let mut streams = Vec::new();
        for _ in 0..1000 {
            streams.push(connect(&network, EXCHANGE).await);
        }
        for (number, stream) in streams.iter_mut().enumerate() {
            stream.write_all(format!("{number:04}").as_bytes()).await.unwrap();
        }
        for (number, stream) in streams.iter_mut().enumerate() {
            assert_eq!(read_exactly(stream, 4).await, format!("{number:04}").as_bytes());
        }
    });
    lab.drain();
}

#[test]
fn ports_are_used_again_over_a_hundred_thousand_connections() {
    let mut lab = Lab::new();
    let (network, farm) = (lab.network.clone(), lab.farm.clone());
    lab.run(async move {
        let listener = bind(&farm, EXCHANGE).await;
        for number in 0..100_000_u32 {
            let (dialled, accepted) =
                tokio::join!(network.connect(None, at(EXCHANGE)), farm.accept(&listener));
            let (mut client, local) = dialled.unwrap();
            let (mut server, peer) = accepted.unwrap();
            assert_eq!(local, peer);
            server.write_all(&number.to_le_bytes()).await.unwrap();
            drop(server);
            assert_eq!(client.read_u32_le().await.unwrap(), number);
        }
    });
    assert_eq!(lab.world.stats().connections, 100_000);
    lab.drain();
}

#[test]
fn an_address_without_a_free_port_is_not_available() {
    const PORTS: usize = 16_384;
    let mut lab = Lab::new();
    let (network, farm, clock) = (lab.network.clone(), lab.farm.clone(), lab.clock.clone());
    let sockets = lab.run(async move {
        let listener = farm.bind(at(EXCHANGE), u32::MAX).await.unwrap();
        let mut attempts = JoinSet::new();
        for _ in 0..=PORTS {
            let network = network.clone();
            attempts.spawn(async move { network.connect(None, at(EXCHANGE)).await });
        }
        let (mut streams, mut errors) = (Vec::new(), Vec::new());
        while let Some(attempt) = attempts.join_next().await {
            match attempt.unwrap() {
                Ok((stream, _)) => streams.push(stream),
                Err(error) => errors.push(error.kind()),
            }
        }
        assert_eq!((streams.len(), errors), (PORTS, vec![ErrorKind::AddrNotAvailable]));
        let _other = bind(&farm, "198.51.100.8:25").await;
        connect(&network, "198.51.100.8:25").await;
        // One port is free again when both ends have closed.
        drop((streams.remove(0), farm.accept(&listener).await));
        pause(&clock, Duration::from_secs(1)).await;
        network.connect(None, at(EXCHANGE)).await.unwrap();
        (streams, listener)
    });
    // Without a world they need not be closed one by one, which takes long.
    drop(lab);
    drop(sockets);
}
