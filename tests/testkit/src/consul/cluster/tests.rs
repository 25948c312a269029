use super::*;

#[tokio::test]
async fn a_cluster_loses_its_leader_and_its_data_as_told() {
    let mut cluster = ConsulCluster::start(ClusterOptions::servers(3))
        .await
        .unwrap();
    let leader = cluster.leader().await.unwrap();
    cluster.put("a", b"1").await.unwrap();
    let snapshot = cluster.snapshot().await.unwrap();
    cluster.kill(leader);
    let next = cluster.wait_leader().await.unwrap();
    assert_ne!(next, leader);
    cluster.put("a", b"2").await.unwrap();
    cluster.restart(leader).unwrap();
    cluster.wait_leader().await.unwrap();
    assert_eq!(cluster.get("a").await.unwrap().unwrap(), b"2");
    cluster.restore(snapshot).await.unwrap();
    assert_eq!(cluster.get("a").await.unwrap().unwrap(), b"1");
    cluster.wipe().await.unwrap();
    assert_eq!(cluster.get("a").await.unwrap(), None);
}

#[tokio::test]
async fn tokens_have_the_rights_they_were_given() {
    let cluster = ConsulCluster::start(ClusterOptions::servers(1).with_acl())
        .await
        .unwrap();
    cluster.put("a/x", b"1").await.unwrap();
    let token = cluster
        .token("t", r#"key_prefix "b/" { policy = "write" }"#)
        .await
        .unwrap();
    let status = |token: String| async {
        let url = format!("http://{}/v1/kv/a/x", cluster.address(0));
        let call = cluster.http.get(url).header("X-Consul-Token", token);
        call.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(token.0.clone()).await, 403);
    assert_eq!(
        status(cluster.management_token().unwrap().to_owned()).await,
        200
    );
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let cluster = ConsulCluster::start(ClusterOptions::servers(1))
        .await
        .unwrap();
    let folder = cluster.folder.path().to_owned();
    let host = cluster.hosts[0];
    drop(cluster);
    assert!(!folder.exists());
    assert!(is_free(host));
}
