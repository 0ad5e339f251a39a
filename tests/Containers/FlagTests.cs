using EphemeralFs.Tests.Containers.Kubernetes;
using EphemeralFs.Tests.Containers.Oci;
using EphemeralFs.Tests.Mount;

namespace EphemeralFs.Tests.Containers;

/// <summary>What a volume must not allow.</summary>
[Collection(KubernetesCollection.Name)]
public sealed class FlagTests(KubernetesCluster kubernetes)
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_volume_that_is_read_only_is_read_and_not_written(bool claimIsReadOnly)
    {
        var volume = await kubernetes.Provisioner.MakeAsync("ro", "RWX", 1 << 30);
        await using (var writer = await kubernetes.First.StartAsync(new Pod("writer", new ClaimVolume("data", volume))))
        await using (var reader = await kubernetes.First.StartAsync(new Pod("reader", new ClaimVolume("data", volume, claimIsReadOnly))))
        {
            // All may write there, and none of it is protected as files in a sticky directory are: what remains is that the volume is read-only.
            string directory = Directory.CreateDirectory(Path.Combine(writer["data"], "d")).FullName;
            File.SetUnixFileMode(directory, (UnixFileMode)0b111_111_111);
            File.WriteAllText(Path.Combine(directory, "file"), "text\n");
            File.SetUnixFileMode(Path.Combine(directory, "file"), (UnixFileMode)0b110_110_110);
            // Kubelet asks for a read-only mount in the container for either reason (kubelet_pods.go, makeMounts).
            var options = new ContainerOptions(new ContainerMount(reader["data"]) { ReadOnly = true });
            Assert.Equal(claimIsReadOnly, MountInfo.OptionsOf(reader["data"]).Contains("ro"));
            Container.Script(kubernetes.Home, options, 60, """
                cd /tmp/d
                grep -x text file
                for attempt in 'echo x >new' 'echo x >>file' 'mkdir directory' 'rm -f file' 'mv file moved' 'chmod 600 file'; do
                    if output=$(sh -c "$attempt" 2>&1); then echo "$attempt: allowed"; exit 1; fi
                    case $output in *'Read-only file system'*) ;; *) echo "$attempt: $output"; exit 1 ;; esac
                done
                """).MustSucceed();
        }
        await kubernetes.Provisioner.DeleteAsync(volume);
    }

    [Fact]
    public async Task Programs_on_a_volume_with_noexec_are_not_run()
    {
        var volume = await kubernetes.Provisioner.MakeAsync("noexec", "RWO", 1 << 30, "noexec", "nosuid", "nodev");
        await using (var pod = await kubernetes.First.StartAsync(new Pod("noexec", new ClaimVolume("data", volume))))
        {
            // Where kubelet has it: crun 1.8 gives a container's mounts the flags that the pod says and drops those of the node.
            Command.Script(pod["data"], 20, """
                cp /bin/true program
                status=0; ./program || status=$?
                [ $status = 126 ]
                """).MustSucceed();
            Assert.Superset(new HashSet<string> { "noexec", "nosuid", "nodev" }, MountInfo.OptionsOf(pod["data"]).ToHashSet());
        }
        await kubernetes.Provisioner.DeleteAsync(volume);
    }
}
