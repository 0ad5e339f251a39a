using System.Runtime.ExceptionServices;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>Who makes a call. The ids need no entry in <c>/etc/passwd</c>.</summary>
/// <param name="Id">User id.</param>
/// <param name="Group">Group id.</param>
/// <param name="Supplementary">Supplementary groups.</param>
internal sealed record User(uint Id, uint Group, params uint[] Supplementary)
{
    public static readonly User Root = new(0, 0);
    public static readonly User Alice = new(61001, 61001);
    public static readonly User Bob = new(61002, 61002);

    /// <summary>
    /// Runs <paramref name="body"/> as this user with the given umask, on a thread of its own that has its own umask and working
    /// directory and ends with the call: no other thread is affected.
    /// </summary>
    public void Do(Action body, uint umask = 0)
    {
        ExceptionDispatchInfo? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                Expect.Ok(Native.Unshare(Native.CLONE_FS));
                _ = Native.Umask(umask);
                Expect.Ok(Native.SetThreadCredentials(Id, Group, Supplementary));
                body();
            }
            catch (Exception e)
            {
                failure = ExceptionDispatchInfo.Capture(e);
            }
        });
        thread.Start();
        thread.Join();
        failure?.Throw();
    }
}
