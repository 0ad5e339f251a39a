namespace EphemeralFs.Tests.Integration.Deploy;

/// <summary>The image builds without a network from the smallest root file system that carries it, and what is in the archive runs.</summary>
public sealed class ImageTests : IDisposable
{
    /// <summary>Makes a root file system of the libraries that the .NET runtime loads and a shell; builds; unpacks the archive as its format says; runs the program in it, as nobody.</summary>
    private const string Script = """
        set -euo pipefail
        cd "$1"; source=$2; mkdir base root layout
        dotnet=$(dirname "$(dotnet --list-runtimes | sed -n 's/^Microsoft.NETCore.App .*\[\(.*\)\]/\1/p' | tail -n 1)")
        for file in /bin/sh /usr/bin/test "$source"/artifacts/launcher/"$(cat "$source"/artifacts/launcher/current)"/ephemeralfs "$dotnet"/Microsoft.NETCore.App/*/*.so; do
            case $file in /bin/*|/usr/bin/*) echo "$file" ;; esac
            ldd "$file" | grep -o '/[^ ]*' || true
        done | grep -v "^$dotnet" | sort -u | xargs cp -L --parents -t base
        mkdir -p base/proc base/tmp
        "$source"/deploy/csi/image/build base image.tar ephemeralfs:test
        tar -xf image.tar -C layout
        blob() { echo "layout/blobs/$(sed 's/:/\//' <<<"$1")"; }
        digests() { grep -o '"digest":"sha256:[0-9a-f]*' "$1" | cut -d\" -f 4; }
        manifest=$(blob "$(digests layout/index.json | head -n 1)")
        grep -q 'ephemeralfs:test' layout/index.json
        grep -q '"User":"65532:65532"' "$(blob "$(digests "$manifest" | head -n 1)")"
        for layer in $(digests "$manifest" | tail -n +2); do tar -xzf "$(blob "$layer")" -C root; done
        unshare --mount sh -c 'mount -t proc proc root/proc && exec chroot --userspec=65532:65532 root /usr/lib/ephemeralfs/ephemeralfs version'
        """;

    private readonly string _folder = Directory.CreateTempSubdirectory("image-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void It_builds_and_runs()
    {
        var (code, output, error) = Manifests.Run(TimeSpan.FromMinutes(5), "bash", "-c", Script, "image", _folder, Manifests.Root);
        Assert.True(code == 0, $"exit code {code}\n{output}\n{error}");
        Assert.StartsWith("ephemeralfs ", output.TrimEnd().Split('\n')[^1], StringComparison.Ordinal);
    }
}
