namespace EphemeralFs.Tests.Integration.Deploy;

/// <summary>How tests get an image: with <c>deploy/csi/image/build</c>, from files of this machine.</summary>
internal static class ImageScript
{
    /// <summary>
    /// For bash: builds upon a root file system of what the manifests and the .NET runtime need of a Linux, and of other programs. It has Debian's order of where
    /// names of hosts are looked for: the C library's own asks a name server first. Arguments: an empty directory, in which the archive is unpacked as <c>layout</c>
    /// and <c>root</c> is empty; the sources, with the program built; the image's name; paths of the other programs.
    /// </summary>
    public const string Build = """
        set -euo pipefail
        cd "$1"; source=$2 name=$3; shift 3; mkdir base layout root
        dotnet=$(dirname "$(dotnet --list-runtimes | sed -n 's/^Microsoft.NETCore.App .*\[\(.*\)\]/\1/p' | tail -n 1)")
        program=$source/artifacts/launcher/$(cat "$source/artifacts/launcher/current")/ephemeralfs
        for file in /bin/sh /usr/bin/test /usr/bin/install "$@" /usr/lib/*/lib{ssl,crypto}.so.3 "$program" "$dotnet"/Microsoft.NETCore.App/*/*.so; do
            case $file in /bin/*|/usr/bin/*|/usr/lib/*/lib*.so.3) echo "$file" ;; esac
            ldd "$file" | grep -o '/[^ ]*' || true
        done | grep -v "^$dotnet" | sort -u | xargs cp -L --parents -t base
        mkdir -p base/proc base/tmp base/etc
        echo 'hosts: files dns' >base/etc/nsswitch.conf
        "$source"/deploy/csi/image/build base image.tar "$name"
        tar -xf image.tar -C layout

        """;
}
