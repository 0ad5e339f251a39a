using EphemeralFs.Interop;

namespace EphemeralFs.Tests.Integration.Keeper;

/// <summary>A test that acts for two users; skipped, with the reason, when it is not run by root.</summary>
internal sealed class RootFactAttribute : FactAttribute
{
    public RootFactAttribute()
    {
        if (ProcessControl.EffectiveUserId != 0)
        {
            Skip = "needs root";
        }
    }
}

/// <summary>A test that mounts with mount(2); skipped, with the reason, without /dev/fuse or root.</summary>
internal sealed class FuseFactAttribute : FactAttribute
{
    public FuseFactAttribute()
    {
        if (ProcessControl.EffectiveUserId != 0 || !File.Exists("/dev/fuse"))
        {
            Skip = "needs root and /dev/fuse";
        }
    }
}
