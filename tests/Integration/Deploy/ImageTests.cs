namespace EphemeralFs.Tests.Integration.Deploy;

/// <summary>The image builds without a network from the smallest root file system that carries it, and what is in the archive runs.</summary>
public sealed class ImageTests : IDisposable
{
    /// <summary>Unpacks the archive as its format says and runs the program in it, as nobody.</summary>
    private const string Script = ImageScript.Build + """
        blob() { echo "layout/blobs/$(sed 's/:/\//' <<<"$1")"; }
        digests() { grep -o '"digest":"sha256:[0-9a-f]*' "$1" | cut -d\" -f 4; }
        manifest=$(blob "$(digests layout/index.json | head -n 1)")
        grep -q '"org.opencontainers.image.ref.name":"docker.io/library/ephemeralfs:test"' layout/index.json
        grep -q '"User":"65532:65532"' "$(blob "$(digests "$manifest" | head -n 1)")"
        for layer in $(digests "$manifest" | tail -n +2); do tar -xzf "$(blob "$layer")" -C root; done
        chroot root install -d -m 0700 -o 65532 -g 65532 /state
        [ "$(stat -c %u:%g:%a root/state)" = 65532:65532:700 ]
        unshare --mount sh -c 'mount -t proc proc root/proc && exec chroot --userspec=65532:65532 root /usr/lib/ephemeralfs/ephemeralfs version'
        """;

    /// <summary>The part of the script that completes a name.</summary>
    private const string NameScript = "version=0.1.0+abc; set -- base archive ${1:+\"$1\"}; eval \"$(sed -n '/^name=/,/^esac$/p' \"$0\")\"; echo \"$name\"";

    private readonly string _folder = Directory.CreateTempSubdirectory("image-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>An import stores the name as it is written, and the kubelet's runtime asks for the completed one.</summary>
    [Theory]
    [InlineData("", "docker.io/library/ephemeralfs:0.1.0")]
    [InlineData("ephemeralfs:test", "docker.io/library/ephemeralfs:test")]
    [InlineData("team/ephemeralfs:test", "docker.io/team/ephemeralfs:test")]
    [InlineData("registry.example/ephemeralfs:test", "registry.example/ephemeralfs:test")]
    [InlineData("registry.example/team/ephemeralfs:test", "registry.example/team/ephemeralfs:test")]
    [InlineData("localhost:5000/ephemeralfs:test", "localhost:5000/ephemeralfs:test")]
    [InlineData("localhost/ephemeralfs:test", "localhost/ephemeralfs:test")]
    public void Its_name_is_the_one_that_a_kubelet_asks_for(string given, string name)
    {
        var (code, output, error) = Manifests.Run("bash", "-uc", NameScript, Path.Combine(Manifests.Root, "deploy", "csi", "image", "build"), given);
        Assert.True(code == 0, $"exit code {code}\n{error}");
        Assert.Equal(name, output.Trim());
    }

    [Fact]
    public void It_builds_and_runs()
    {
        var (code, output, error) = Manifests.Run(TimeSpan.FromMinutes(5), "bash", "-c", Script, "image", _folder, Manifests.Root, "ephemeralfs:test");
        Assert.True(code == 0, $"exit code {code}\n{output}\n{error}");
        Assert.StartsWith("ephemeralfs ", output.TrimEnd().Split('\n')[^1], StringComparison.Ordinal);
    }
}
