using EphemeralFs.Tests.Containers.Kubernetes;
using EphemeralFs.Tests.Containers.Oci;

namespace EphemeralFs.Tests.Containers;

/// <summary>Containers that share the volume of one claim.</summary>
[Collection(KubernetesCollection.Name)]
public sealed class SharedTests(KubernetesCluster kubernetes)
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Two_containers_exchange_files_and_lock_each_other_out(bool onTwoNodes)
    {
        var volume = await kubernetes.Provisioner.MakeAsync("shared", "RWX", 1 << 30);
        await using (var one = await kubernetes.First.StartAsync(new Pod("one", new ClaimVolume("data", volume))))
        await using (var other = await (onTwoNodes ? kubernetes.Second : kubernetes.First).StartAsync(new Pod("other", new ClaimVolume("data", volume))))
        {
            using var first = Start(one, "rprivate");
            using var second = Start(other, "rslave");
            first.Execute(60, "echo written by one >/tmp/file; mkdir /tmp/directory").MustSucceed();
            second.Execute(60, """
                grep -x 'written by one' /tmp/file
                echo changed by the other >/tmp/file
                mv /tmp/file /tmp/directory/moved
                """).MustSucceed();
            first.Execute(60, "[ ! -e /tmp/file ] && grep -x 'changed by the other' /tmp/directory/moved").MustSucceed();
            await LockAsync(first, second);
            await LockAsync(second, first);

            // Two hundred increments by both, and none of them is lost.
            const string Increment = "for i in $(seq 100); do flock /tmp/lock sh -c 'echo $(($(cat /tmp/count) + 1)) >/tmp/count'; done";
            first.Execute(60, "echo 0 >/tmp/count").MustSucceed();
            var both = await Task.WhenAll(Task.Run(() => first.Execute(120, Increment)), Task.Run(() => second.Execute(120, Increment)));
            Assert.All(both, result => result.MustSucceed());
            first.Execute(60, "grep -x 200 /tmp/count").MustSucceed();
        }
        await kubernetes.Provisioner.DeleteAsync(volume);
    }

    /// <summary>One holds the lock of a file; the other is refused, waits, and gets it when the first lets go.</summary>
    private async Task LockAsync(Container holder, Container waiter)
    {
        var held = Task.Run(() => holder.Execute(60, "exec 9>/tmp/lock; flock 9; : >/tmp/held; until [ -e /tmp/release ]; do sleep 0.02; done; rm /tmp/held"));
        waiter.Execute(60, "until [ -e /tmp/held ]; do sleep 0.02; done; ! flock -n /tmp/lock true").MustSucceed();
        var waited = Task.Run(() => waiter.Execute(60, ": >/tmp/release; flock /tmp/lock sh -c '[ ! -e /tmp/held ]'; rm /tmp/release"));
        (await held).MustSucceed();
        (await waited).MustSucceed();
    }

    private Container Start(NodePod pod, string propagation) =>
        Container.StartIdle(kubernetes.Home, new ContainerOptions(new ContainerMount(pod["data"]) { Propagation = propagation }), 300);
}
