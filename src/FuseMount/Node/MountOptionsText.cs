using EphemeralFs.Core;
using EphemeralFs.FuseMount.Mounting;

namespace EphemeralFs.FuseMount.Node;

/// <summary>Mount options as users write them: comma-separated words of mount(8).</summary>
public static class MountOptionsText
{
    /// <summary>Parses, or throws <see cref="MountException"/> (EINVAL) naming the word that is not known.</summary>
    public static FuseMountOptions Parse(string text, string volume)
    {
        var options = new FuseMountOptions { FsName = volume, Subtype = "ephemeralfs" };
        foreach (var word in text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            options = word switch
            {
                "ro" => options with { ReadOnly = true },
                "rw" => options with { ReadOnly = false },
                "suid" => options with { NoSuid = false },
                "nosuid" => options with { NoSuid = true },
                "dev" => options with { NoDev = false },
                "nodev" => options with { NoDev = true },
                "exec" => options with { NoExec = false },
                "noexec" => options with { NoExec = true },
                "noatime" => options, // always
                "allow_other" => options with { AllowOther = true, RequireAllowOther = true },
                "default_permissions" => options with { DefaultPermissions = true },
                "idmap" => options with { AllowIdmap = true },
                "nonempty" => options with { NonEmpty = true },
                _ => throw new MountException(
                    Errno.EINVAL, $"unknown mount option '{word}'; known are ro, rw, suid, nosuid, dev, nodev, exec, noexec, noatime, allow_other, default_permissions, idmap, nonempty"),
            };
        }

        return options;
    }
}
