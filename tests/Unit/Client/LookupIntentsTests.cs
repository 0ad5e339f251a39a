using EphemeralFs.Client.Namespace;

namespace EphemeralFs.Tests.Unit.Client;

/// <summary>Whether a look-up is for an open is told by those before it.</summary>
public class LookupIntentsTests
{
    private readonly LookupIntents _intents = new();

    [Fact]
    public void A_directory_is_opened_in_as_long_as_its_files_are()
    {
        Assert.False(_intents.ExpectsOpen(7));
        _intents.LookedUp(7, 100);
        Assert.False(_intents.ExpectsOpen(7));
        _intents.Opened(100);
        Assert.True(_intents.ExpectsOpen(7));
        for (ulong ino = 101; ino < 105; ino++)
        {
            Assert.True(_intents.ExpectsOpen(7));
            _intents.LookedUp(7, ino);
        }

        Assert.False(_intents.ExpectsOpen(7));
        _intents.Opened(103);
        Assert.True(_intents.ExpectsOpen(7));
    }

    [Fact]
    public void Directories_do_not_tell_of_each_other()
    {
        _intents.LookedUp(7, 100);
        _intents.LookedUp(8, 200);
        _intents.Opened(200);
        Assert.False(_intents.ExpectsOpen(7));
        Assert.True(_intents.ExpectsOpen(8));
        _intents.LookedUp(8 + 64, 300); // takes the place
        Assert.False(_intents.ExpectsOpen(8));
        Assert.False(_intents.ExpectsOpen(8 + 64));
        _intents.Opened(300);
        Assert.True(_intents.ExpectsOpen(8 + 64));
    }

    [Fact]
    public void An_open_of_what_was_not_looked_up_tells_nothing()
    {
        _intents.LookedUp(7, 100);
        _intents.Opened(100);
        _intents.LookedUp(9, 101);
        _intents.Opened(100);
        Assert.False(_intents.ExpectsOpen(9));
    }
}
