using EphemeralFs.Tests.Integration.Csi;

namespace EphemeralFs.Tests.Mount.Csi;

/// <summary>A cluster that ends while pods have its volumes.</summary>
[Collection(CsiCollection.Name)]
public sealed class DownTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Nothing_is_left_where_volumes_were_published(bool isDead)
    {
        string target, inside;
        string home = Directory.CreateTempSubdirectory("efsdwn").FullName;
        Directory.CreateDirectory(Path.Combine(home, "plugins_registry"));
        using (var cluster = new TestCluster("efsdwn", null, "--csi", $"unix:{home}/csi.sock", "--kubelet", home))
        {
            (target, inside) = (Path.Combine(home, "pod", "mount"), Path.Combine(home, "inside"));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            Directory.CreateDirectory(inside);
            var client = new CsiClient($"{home}/csi.sock");
            (await client.CallAsync("Node", "NodePublishVolume", $$"""{"volume_id": "tmp", "target_path": "{{target}}", "volume_capability": {{CsiCluster.Shared}} }""")).Ok();
            Directory.CreateDirectory(Path.Combine(target, "sub"));
            new Command(home, 60, Tool.Find("mount"), "--bind", Path.Combine(target, "sub"), inside).Run().MustSucceed();
            if (isDead)
            {
                // First those who would start others again.
                foreach (string role in new[] { "up", "controller", "csi", "metadata", "storage", "keeper", "node" })
                {
                    foreach (var process in Faults.ClusterProcess.All(cluster.State).Where(process => process.Role == role))
                    {
                        process.Kill();
                    }
                }
            }
            cluster.Program(90, "down").Run().MustSucceed();
            Assert.DoesNotContain(home, File.ReadAllText("/proc/self/mountinfo"), StringComparison.Ordinal);
        }
        Directory.Delete(home, recursive: true);
    }
}
