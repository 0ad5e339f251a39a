using k8s.Models;

namespace EphemeralFs.Tests.Integration.Deploy;

/// <summary>The manifests of <c>examples/pods</c> are valid, and use what the deployment offers.</summary>
public sealed class ExamplePodTests
{
    private static readonly string s_folder = Path.Combine(Manifests.Root, "examples", "pods");

    public static TheoryData<string> Examples => [.. Directory.EnumerateFiles(s_folder, "*.yaml").Select(p => Path.GetFileName(p)!).Order()];

    [Theory]
    [MemberData(nameof(Examples))]
    public void It_is_valid_and_uses_what_there_is(string name)
    {
        var manifests = Manifests.Read(Path.Combine(s_folder, name));
        Assert.NotEmpty(manifests.All);
        var offered = Manifests.Render("production");
        var classes = offered.Of<V1StorageClass>().Select(c => c.Metadata.Name).ToList();

        IEnumerable<V1PodSpec> pods =
        [
            .. manifests.Of<V1Pod>().Select(p => p.Spec),
            .. manifests.Of<V1Job>().Select(j => j.Spec.Template.Spec),
            .. manifests.Of<KnativeService>().Select(s => s.Spec.Template.Spec),
            .. manifests.Of<FissionEnvironment>().Select(e => e.Spec.Runtime.Podspec),
        ];
        foreach (var pod in pods)
        {
            Assert.Equal(pod.Volumes.Select(v => v.Name).Order(), pod.Containers.SelectMany(c => c.VolumeMounts).Select(m => m.Name).Distinct().Order());
            Assert.All(pod.Containers, c => Assert.Matches(":v?[0-9.]+$", c.Image));
            Assert.All(pod.Volumes.Where(v => v.Csi is not null), v => Assert.Equal("csi.ephemeralfs.io", v.Csi.Driver));
            Assert.All(pod.Volumes.Where(v => v.Csi is not null), v => Assert.True(Manifests.Bytes(v.Csi.VolumeAttributes["size"]) > 0));
            Assert.All(
                pod.Volumes.Where(v => v.PersistentVolumeClaim is not null),
                v => Assert.Contains(manifests.Of<V1PersistentVolumeClaim>(), c => c.Metadata.Name == v.PersistentVolumeClaim.ClaimName));
        }

        Assert.All(
            manifests.Of<V1PersistentVolumeClaim>().Select(c => c.Spec.StorageClassName).Concat(pods.SelectMany(p => p.Volumes).Where(v => v.Ephemeral is not null).Select(v => v.Ephemeral.VolumeClaimTemplate.Spec.StorageClassName)),
            c => Assert.Contains(c, classes));
        Assert.All(manifests.Of<VolumeSnapshot>(), s => Assert.Contains(offered.Of<VolumeSnapshotClass>(), c => c.Metadata.Name == s.Spec.VolumeSnapshotClassName));
        Assert.All(manifests.Of<V1VolumeAttributesClass>(), c => Assert.Equal("csi.ephemeralfs.io", c.DriverName));
        Assert.All(
            manifests.Of<V1MutatingAdmissionPolicyBinding>(),
            b => Assert.Contains(manifests.Of<V1MutatingAdmissionPolicy>(), p => p.Metadata.Name == b.Spec.PolicyName));
    }

    [Fact]
    public void The_guide_names_every_example() => Assert.All(
        Directory.EnumerateFiles(s_folder, "*.yaml"),
        path => Assert.Contains(Path.GetFileName(path), File.ReadAllText(Path.Combine(s_folder, "README.md")), StringComparison.Ordinal));
}
